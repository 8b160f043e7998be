"""The ladder for the eye: nothing is cut off, and a contradiction cannot be missed."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lab.ladder import LAYERS, LadderRequest, ladder_of
from lab.report.ladder_terminal import show
from lab.report.rungs import Flag, Ladder
from tests import pages
from tests.golden_file import GOLDEN, compare
from tests.rungs import runs

REQUEST = LadderRequest(Path(), rounds=3)
LADDER = ladder_of(runs(), REQUEST, 212.0).model_copy(update={"cpu": "a CPU"})


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
    costs = runs()["virtio"][0].result.costs
    spoiled = [
        replace(run, result=run.result.model_copy(update={"costs": costs}))
        for run in runs()["vhost"]
    ]
    text = shown(ladder_of({**runs(), "vhost": spoiled}, LadderRequest(Path()), 1.0), 100)
    assert "CONTRADICTED" in text
    assert "FAIL" in text
    assert "5 of 6 promises kept" in text


def test_a_count_in_which_chance_has_a_part_is_marked() -> None:
    key, rung = "ping-pong.vhost_wakeups", LADDER.rungs[2]
    chance = rung.measures[key].model_copy(update={"steady": False})
    spoiled = rung.model_copy(update={"measures": {**rung.measures, key: chance}})
    rungs = (*LADDER.rungs[:2], spoiled, *LADDER.rungs[3:])
    lines = marked(LADDER.model_copy(update={"rungs": rungs}))
    assert lines
    assert all("vhost wake-ups" in line and "≈1.00" in line for line in lines)
    assert not marked(LADDER)


def marked(ladder: Ladder) -> list[str]:
    """Lines with a count of chance, the legend apart."""
    return [line for line in shown(ladder, 100).splitlines() if "≈" in line.strip()[1:]]


def test_nobody_elses_words_reach_the_terminal_as_commands() -> None:
    text = shown(pages.spoiled(pages.ladder()), 2000)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", text)
    assert "\u2400\u2407\ufffd\ufffd\ufffd" in text


def test_a_flag_names_the_reasons() -> None:
    flag = Flag(
        rung="sriov",
        quantity="burst.exits_to_qemu",
        per_packet=0.25,
        reasons={"KVM_EXIT_IO": 0.05, "KVM_EXIT_MMIO": 0.2},
    )
    text = shown(LADDER.model_copy(update={"flags": (flag,)}), 100)
    assert "sriov stops for QEMU 0.25 times a packet, burst: 0.20 KVM_EXIT_MMIO, 0.05" in text


def test_one_round_compares_nothing_and_holds_the_promises() -> None:
    text = shown(ladder_of(runs(wobbles=(1.0,)), LadderRequest(Path(), rounds=1), 1.0), 100)
    assert "one round says nothing of its spread" in text
    assert not [sign for sign in "▼▲~=" if sign in text]
    assert "6 of 6 promises kept; 1 round" in text


def test_what_was_not_measured_is_said_once_for_all() -> None:
    rungs = tuple(
        rung.model_copy(
            update={"not_measured": {"tcp": "not asked for", "zero_loss": "not asked for"}}
        )
        for rung in LADDER.rungs
    )
    some = rungs[0].model_copy(update={"not_measured": {"kicks": "no KVM"}})
    text = shown(LADDER.model_copy(update={"rungs": (some, *rungs[1:])}), 160)
    assert "not measured: kicks (e1000): no KVM" in text
    assert text.count("not asked for") == 1
