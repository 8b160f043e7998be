"""The ladder: in which order it is climbed, what is compared with what, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lab.errors import StartError, UsageError
from lab.ladder import LAYERS, LadderRequest, above, climb, ladder_of, plan_of
from lab.plan.data import CostLevel, Place
from lab.report.measured import Run
from lab.report.result import failed_result
from lab.report.verdict import Outcome
from tests.rungs import runs

OUT = Path("out")
REQUEST = LadderRequest(OUT)


def test_rounds_are_interleaved() -> None:
    request = LadderRequest(OUT, ("virtio", "vhost", "./my.yaml"), rounds=2)
    climbed = plan_of(request)
    assert [(each.name, each.round) for each in climbed] == [
        *(("virtio", 1), ("vhost", 1), ("my", 1)),
        *(("virtio", 2), ("vhost", 2), ("my", 2)),
    ]
    assert [each.run.topology for each in climbed[:3]] == ["virtio", "vhost", "./my.yaml"]
    assert len({each.run.out for each in climbed}) == len(climbed)


def test_every_layer_has_one_guest() -> None:
    options = {each.name: each.run.options for each in plan_of(REQUEST)}
    assert [name for name in LAYERS if "guests=1" in options[name]] == ["macvtap", "sriov"]


def test_two_rungs_cannot_have_one_name() -> None:
    with pytest.raises(UsageError, match=r"a/my\.yaml and b/my\.yaml would have one name: my"):
        plan_of(LadderRequest(OUT, ("vhost", "a/my.yaml", "b/my.yaml")))


def test_a_file_that_is_named_like_a_layer_takes_its_place() -> None:
    (mine,) = plan_of(LadderRequest(OUT, ("./macvtap.yaml",), rounds=1))
    assert mine.name == "macvtap"
    assert "guests=1" not in mine.run.options


def test_a_file_beside_the_layer_that_it_is_named_like_is_none() -> None:
    layer, mine = plan_of(LadderRequest(OUT, ("macvtap", "./macvtap.yaml"), rounds=1))
    assert "guests=1" in layer.run.options
    assert "guests=1" not in mine.run.options
    assert mine.name == "macvtap.yaml"
    assert layer.run.out != mine.run.out


def test_fresh_goes_to_every_run() -> None:
    assert all("--fresh" in each.run.options for each in plan_of(replace(REQUEST, fresh=True)))
    assert not any("--fresh" in each.run.options for each in plan_of(REQUEST))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("virtio", "vhost"), {"virtio": None, "vhost": "virtio"}),
        (("e1000", "macvtap"), {"e1000": None, "macvtap": "e1000"}),
        (("vhost", "virtio"), {"vhost": "virtio", "virtio": None}),
        (("vhost", "sriov", "multiqueue"), {"sriov": "vhost", "multiqueue": "vhost"}),
        (("vhost", "mine"), {"mine": "vhost"}),
        (("mine", "vhost"), {"mine": None, "vhost": None}),
    ],
)
def test_a_rung_is_compared_with_the_next_one_above(
    names: tuple[str, ...], expected: dict[str, str | None]
) -> None:
    found = above(names)
    assert {name: found[name] for name in expected} == expected


def test_a_ladder_as_theory_has_it_passes() -> None:
    ladder = ladder_of(runs(), REQUEST, 12.3456)
    assert (ladder.outcome, ladder.status, ladder.seconds) == (Outcome.PASS, 0, 12.346)
    assert [rung.name for rung in ladder.rungs] == list(LAYERS)
    assert [(step.upper, step.lower) for step in ladder.steps][-1] == ("vhost", "multiqueue")


def spoiled(name: str, run: Run) -> Mapping[str, list[Run]]:
    return {
        each: [run] * len(good) if each == name else list(good) for each, good in runs().items()
    }


def test_a_contradiction_is_exit_status_1_though_every_run_passed() -> None:
    virtio, vhost = runs()["virtio"][0].result, runs()["vhost"][0]
    copied = replace(vhost, result=vhost.result.model_copy(update={"costs": virtio.costs}))
    ladder = ladder_of(spoiled("vhost", copied), REQUEST, 1.0)
    assert {rung.outcome for rung in ladder.rungs} == {Outcome.PASS}
    broken = {each.name for each in ladder.promises if each.outcome is Outcome.FAIL}
    assert broken == {"vhost-syscalls"}
    assert (ladder.outcome, ladder.status) == (Outcome.FAIL, 1)


def test_a_run_that_failed_decides_the_status() -> None:
    dead = Run(failed_result("sriov", Place.LABHOST, StartError("no VF")))
    ladder = ladder_of(spoiled("sriov", dead), REQUEST, 1.0)
    assert (ladder.outcome, ladder.status) == (Outcome.ERROR, StartError.status)


def test_runs_are_made_in_order_and_told_and_a_failure_stops_nothing(tmp_path: Path) -> None:
    request = LadderRequest(tmp_path, ("nosuch", "neither"), rounds=2)
    begun: list[str] = []
    told: list[tuple[str, int]] = []
    found = climb(
        request,
        lambda climbed: begun.append(f"{climbed.name} {climbed.round}"),
        lambda climbed, result: told.append((climbed.name, result.status)),
    )
    assert begun == ["nosuch 1", "neither 1", "nosuch 2", "neither 2"]
    assert told == [("nosuch", 2), ("neither", 2)] * 2
    assert {name: len(each) for name, each in found.items()} == {"nosuch": 2, "neither": 2}


def test_tcp_is_measured_unless_less_is_asked_for() -> None:
    options = {word for each in plan_of(REQUEST) for word in each.run.options}
    assert "tcp" in options
    brief = LadderRequest(OUT, ("vhost",), rounds=1, costs=CostLevel.BRIEF)
    assert "brief" in plan_of(brief)[0].run.options
