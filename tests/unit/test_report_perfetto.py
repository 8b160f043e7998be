"""The file for Perfetto: the Trace Event Format, as far as it is used."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from lab.report.trace.perfetto import perfetto
from tests import lives

Entries = list[dict[str, Any]]


@pytest.fixture(params=lives.TOPOLOGIES)
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(perfetto(lives.life(request.param)))
    return found


@pytest.fixture
def entries(document: dict[str, Any]) -> Entries:
    found: Entries = document["traceEvents"]
    return found


def of(entries: Entries, *phases: str) -> Entries:
    return [entry for entry in entries if entry["ph"] in phases]


def tracks(entries: Entries) -> set[tuple[int, int]]:
    return {(entry["pid"], entry["tid"]) for entry in entries}


def test_every_entry_has_what_its_phase_needs(entries: Entries) -> None:
    assert {entry["ph"] for entry in entries} <= {"M", "X", "s", "t", "f"}
    for entry in entries:
        assert {"name", "pid", "tid"} <= entry.keys()
        assert isinstance(entry["pid"], int)
        assert isinstance(entry["tid"], int)
    for entry in of(entries, "X"):
        assert entry["ts"] >= 0
        assert entry["dur"] >= 0


def test_every_track_and_process_has_one_name(entries: Entries) -> None:
    named = [entry for entry in of(entries, "M") if entry["name"] == "thread_name"]
    assert len(tracks(named)) == len(named)
    assert tracks(of(entries, "X", "s", "t", "f")) <= tracks(named)
    processes = [entry for entry in of(entries, "M") if entry["name"] == "process_name"]
    assert {entry["pid"] for entry in processes} == {entry["pid"] for entry in of(entries, "X")}


def test_slices_of_a_track_do_not_overlap(entries: Entries) -> None:
    slices = of(entries, "X")
    for track in tracks(slices):
        own = sorted((e["ts"], e["dur"]) for e in slices if (e["pid"], e["tid"]) == track)
        for (begin, lasts), (after, _) in pairwise(own):
            assert begin + lasts <= after + 0.001  # rounding


def test_one_flow_goes_from_slice_to_slice(entries: Entries) -> None:
    flow = of(entries, "s", "t", "f")
    assert [entry["ph"] for entry in flow] == ["s", *("t" for _ in flow[2:]), "f"]
    assert {entry["id"] for entry in flow} == {1}
    assert all(before["ts"] <= after["ts"] for before, after in pairwise(flow))
    slices = of(entries, "X")
    for entry in flow:
        key = entry["pid"], entry["tid"], entry["ts"]
        assert key in {(each["pid"], each["tid"], each["ts"]) for each in slices}


def test_a_loss_is_told(document: dict[str, Any]) -> None:
    lost = document["otherData"].get("lost", "")
    assert lost == "" or "br_dev_queue_push_xmit" in lost
