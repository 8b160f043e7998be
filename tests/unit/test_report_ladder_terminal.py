"""The ladder for the eye: nothing is cut off, and a contradiction cannot be missed."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from lab.ladder import LAYERS, LadderRequest, ladder_of
from lab.report.ladder_terminal import show
from lab.report.measured import Run
from lab.report.rungs import Flag, Ladder
from tests.golden_file import GOLDEN, compare
from tests.rungs import runs

LADDER = ladder_of(runs(), LadderRequest(), 212.0).model_copy(update={"cpu": "a CPU"})


def shown(ladder: Ladder, width: int) -> str:
    out = StringIO()
    show(ladder, Console(file=out, width=width))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("width", [80, 100])
def test_the_whole_ladder(width: int) -> None:
    compare(GOLDEN / "ladder" / f"{width}.txt", shown(LADDER, width))


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_number_is_cut_off(width: int) -> None:
    lines = shown(LADDER, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "…" in line and any(char in line for char in "▼▲~=")]


def test_names_are_whole_where_there_is_room() -> None:
    assert all(name in shown(LADDER, 100) for name in LAYERS)
    assert "…" not in shown(LADDER, 100)


def test_a_contradiction_stands_out() -> None:
    virtio, vhost = runs()["virtio"], runs()["vhost"]
    spoiled = [
        Run(good.result, good.evidence, costs=bad.costs)
        for good, bad in zip(vhost, virtio, strict=True)
    ]
    text = shown(ladder_of({**runs(), "vhost": spoiled}, LadderRequest(), 1.0), 100)
    assert "CONTRADICTED" in text
    assert "FAIL" in text
    assert "5 of 6 promises kept" in text


def test_a_flag_names_the_reasons() -> None:
    flag = Flag(
        rung="sriov",
        quantity="burst.exits_to_qemu",
        per_packet=0.25,
        reasons={"KVM_EXIT_IO": 0.05, "KVM_EXIT_MMIO": 0.2},
    )
    text = shown(LADDER.model_copy(update={"flags": (flag,)}), 100)
    assert "sriov stops for QEMU 0.25 times a packet, burst: 0.20 KVM_EXIT_MMIO, 0.05" in text


def test_one_round_leaves_every_time_open() -> None:
    text = shown(ladder_of(runs(wobbles=(1.0,)), LadderRequest(rounds=1), 1.0), 100)
    assert "cannot tell: " in text
    assert "▼ shorter" not in text
    assert "6 of 6 promises kept; 1 round" in text
