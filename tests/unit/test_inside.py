"""A run that is held in the lab host, until the lab says to go on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Timer
from typing import Any

import pytest

from lab import inside
from lab.events import Event, Held, Observed, Undone
from lab.execute import Pauses
from lab.inside import line
from lab.model.load import load_topology
from lab.plan.build import build
from lab.plan.places import labhost_facts
from lab.record import Record
from lab.results import open_results
from tests import sample


@pytest.mark.parametrize(
    ("said", "heard"), [(b"go on\n", b"go on"), (b"\n", b"")], ids=["words", "an empty line"]
)
def test_a_line_that_the_lab_says(said: bytes, heard: bytes, tmp_path: Path) -> None:
    with _port(tmp_path) as theirs:
        os.write(theirs, said)
        assert line(tmp_path) == heard


def test_a_line_comes_in_pieces(tmp_path: Path) -> None:
    with _port(tmp_path) as theirs:
        os.write(theirs, b"x" * 40000)
        later = Timer(0.05, os.write, (theirs, b"y\n"))
        later.start()
        assert line(tmp_path) == b"x" * 40000 + b"y"


def test_a_lab_that_is_gone_says_nothing(tmp_path: Path) -> None:
    with Path("/dev/null").open() as nothing:
        (tmp_path / str(nothing.fileno())).symlink_to("/dev/vport2p1")
        with pytest.raises(EOFError, match="gone"):
            line(tmp_path)


@contextmanager
def _port(descriptors: Path) -> Iterator[int]:
    """The lab's end of a pipe whose other end looks like the channel's port in ``descriptors``."""
    ours, theirs = os.pipe()
    (descriptors / "1").symlink_to("/dev/null")
    (descriptors / str(ours)).symlink_to("/dev/vport2p1")
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "wb"):
        yield theirs


class Hearer:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def event(self, event: Event) -> None:
        self.heard.append(event.event)

    def stage(self, name: str) -> None: ...

    def bytes(self, done: int, total: int) -> None: ...


def test_the_look_comes_between_evidence_and_undo(tmp_path: Path) -> None:
    hearer = Hearer()
    stream: list[tuple[Event, bytes]] = [
        (Observed(evidence=sample.evidence()), b""),
        (Held(), b""),
        (Undone(left=()), b""),
    ]
    record = Record(hearer)
    with open_results(tmp_path / "results", "vhost") as folder:
        record.follow(stream, folder, lambda: hearer.heard.append("look"))
    assert hearer.heard == ["observed", "held", "look", "undone"]


@pytest.mark.parametrize("pause", ["pause", "keep"])
def test_what_takes_long_is_known_to_be_alive_but_what_rests_is_silent(
    pause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = build(load_topology("vhost", {}), labhost_facts()).model_dump(mode="json")
    argument = {"plan": plan, "wall": time.time(), pause: True}
    said: SimpleQueue[str] = SimpleQueue()
    ways = {"pause": "ready", "keep": "hold"}

    def rests() -> bytes:
        while not said.empty():
            said.get()
        with pytest.raises(Empty):
            said.get(timeout=0.2)
        return json.dumps(argument).encode()

    def long(_plan: object, _emit: object, _folder: Path, pauses: Pauses) -> None:
        assert said.get(timeout=10) == "alive"
        getattr(pauses, ways[pause])()
        assert said.get(timeout=10) == "alive"

    def emit(event: dict[str, Any], _attachment: bytes) -> None:
        said.put(event["event"])

    monkeypatch.setattr(inside, "execute", long)
    monkeypatch.setattr(inside, "line", rests)
    monkeypatch.setattr(inside, "_FOLDERS", tmp_path)
    monkeypatch.setattr(inside, "_ALIVE_SECONDS", 0.01)
    inside.main(argument, emit)
    while not said.empty():
        assert said.get() == "alive"
    with pytest.raises(Empty):
        said.get(timeout=0.05)
