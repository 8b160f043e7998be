"""A run that is held in the lab host, until the lab says to go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.events import Event, Held, Observed, Undone
from lab.inside import wait_for_word
from lab.record import Record
from lab.results import open_results
from tests import sample


@pytest.mark.parametrize("said", [b"go on\n", b""], ids=["a line", "nobody is there"])
def test_held_until_a_line_comes_or_nobody_is_there(said: bytes, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    (tmp_path / "1").symlink_to("/dev/null")
    (tmp_path / str(ours)).symlink_to("/dev/vport2p1")
    os.write(theirs, said + b"rest" * bool(said))
    os.close(theirs)
    wait_for_word(tmp_path)
    assert os.read(ours, 9) == b"rest" * bool(said)
    os.close(ours)


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
