"""One run in a place that only plays it: what is carried out, and what is told of an early end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from lab import places
from lab.artifacts import CONSOLE_FILE
from lab.cli import trace
from lab.cli.main import status
from lab.errors import LabError, StartError
from lab.events import Artifact, Event, Failed, Undone
from lab.paths import topologies
from lab.pci import PciFunction
from lab.plan.data import Facts, Plan

REFUSED = Failed(
    status=StartError.status,
    message="guest: QEMU refused device_add",
    hint="look at it",
    argv=("qemu-system-x86_64", "-S"),
    output="its last words",
)


class Played:
    """A place in which every plan ends with the same events; an artifact's content is the plan."""

    accelerator = "tcg"
    qemu_version = "1:10.0.13"

    def __init__(self, facts: Facts, events: tuple[Event, ...]) -> None:
        self.facts = facts
        self._events = events

    def carry(self, plan: Plan, *, keep: bool = False) -> Iterator[tuple[Event, bytes]]:
        assert not keep
        for event in self._events:
            yield event, plan.model_dump_json().encode() if isinstance(event, Artifact) else b""

    def go_on(self) -> None: ...

    def pci(self) -> tuple[PciFunction, ...]:
        return ()

    def shell(self) -> None: ...


Opened = Callable[..., AbstractContextManager[Played]]


def opening(*events: Event, meanwhile: Callable[[], object] = lambda: None) -> Opened:
    """What stands for `open_place`; ``meanwhile`` happens while the place opens."""

    @contextmanager
    def opened(_wanted: object, facts: Facts, *_: object) -> Iterator[Played]:
        meanwhile()
        yield Played(facts, events)

    return opened


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A topology file in the current folder."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text((topologies() / "vhost.yaml").read_text())
    return file


def test_a_file_that_changes_meanwhile_changes_nothing(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept under the plan's beginning has to be that plan."""

    def edit() -> None:
        mine.write_text(mine.read_text().replace("memory: 192", "memory: 256"))

    monkeypatch.setattr("lab.run.open_place", opening(Artifact(name="plan.json"), meanwhile=edit))
    assert status(["run", "./mine.yaml", "--out", "out"]) == StartError.status
    assert "memory: 256" in mine.read_text()
    plan = Plan.model_validate_json(Path("out/plan.json").read_bytes())
    assert "192" in " ".join(plan.guests[0].argv)


def test_the_document_of_a_failed_run_is_the_saved_one(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = opening(Artifact(name="dmesg.log"), Undone(left=()), REFUSED)
    monkeypatch.setattr("lab.run.open_place", opened)
    command = ["run", "./mine.yaml", "--json", "--out", "out", "--sabotage", "vhost-off"]
    assert status(command) == StartError.status
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(Path("out/result.json").read_text())
    assert document["artifacts"].keys() == {"dmesg.log", "report.html", "result.json"}
    assert (document["topology"], document["sabotage"]) == ("vhost", "vhost-off")
    assert document["title"]
    assert document["date"]
    assert "total" in document["timings"]


def test_a_run_that_failed_before_anything_came_is_known_too(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = opening(REFUSED)
    monkeypatch.setattr("lab.run.open_place", opened)
    assert status(["run", "./mine.yaml", "--json", "--out", "out"]) == StartError.status
    document = json.loads(capsys.readouterr().out)
    assert document["timings"].keys() == {"total"}
    assert not Path("out").exists()


def test_a_time_line_of_no_packet_is_not_written_in_silence(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"x\.json is not written: no packet was seen"):
        trace._write(tmp_path / "x.json", ())


def interrupted() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_run_has_a_document(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = opening(meanwhile=interrupted)
    monkeypatch.setattr("lab.run.open_place", opened)
    assert status(["run", "./mine.yaml", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["status"] == 130


def test_a_lab_host_that_dies_while_it_starts_leaves_its_console(tmp_path: Path) -> None:
    kept: dict[str, bytes] = {}
    (tmp_path / CONSOLE_FILE).write_bytes(b"Kernel panic")

    def start() -> None:
        with places._console_saved(tmp_path / CONSOLE_FILE, kept.__setitem__):
            raise StartError("no answer")

    with pytest.raises(StartError, match="no answer"):
        start()
    assert kept == {CONSOLE_FILE: b"Kernel panic"}


@pytest.mark.parametrize("error", [StartError("no QEMU"), LabError("something else")])
def test_one_that_never_wrote_a_console_leaves_none(error: LabError, tmp_path: Path) -> None:
    kept: dict[str, bytes] = {}

    def start() -> None:
        with places._console_saved(tmp_path / CONSOLE_FILE, kept.__setitem__):
            raise error

    with pytest.raises(LabError, match=error.message):
        start()
    assert not kept
