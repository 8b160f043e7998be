"""The theory's promises: kept, contradicted, or not measured, and never the wrong one of these."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lab.evidence.costs import TO_QEMU, CostsEvidence, CostWindow
from lab.ladder import LAYERS
from lab.plan.data import Expectation
from lab.report.counting import costs_in
from lab.report.measured import Run, rung_of
from lab.report.promises import PROMISES, Promise, flags, kept
from lab.report.result import Accelerators
from lab.report.rungs import Kept, Measure, Rung
from lab.report.verdict import Outcome
from tests import sample
from tests.rungs import evidence, result, runs

RUNGS = tuple(rung_of(name, each, None) for name, each in runs().items())
BROKEN = {"virtio-exits": 2.5, "vhost-syscalls": 4.0, "multiqueue-threads": 1.0}
"""What the rung below would show if the layer took nothing away; a device where none else is."""


def spoiled(name: str, key: str, rounds: tuple[float | None, ...] | None) -> tuple[Rung, ...]:
    """The ladder with one quantity of one rung changed, or taken out."""
    return tuple(_spoiled(rung, key, rounds) if rung.name == name else rung for rung in RUNGS)


def _spoiled(rung: Rung, key: str, rounds: tuple[float | None, ...] | None) -> Rung:
    measures = {each: measure for each, measure in rung.measures.items() if each != key}
    if rounds is not None:
        values = [value for value in rounds if value is not None]
        mean = sum(values) / len(values)
        middles = tuple(None if value is None else (value, value) for value in rounds)
        measures[key] = Measure(
            rounds=rounds, middles=middles, mean=mean, low=min(values), high=max(values)
        )
    return rung.model_copy(update={"measures": measures})


def outcomes(rungs: tuple[Rung, ...]) -> dict[str, Outcome]:
    return {each.name: each.outcome for each in kept(rungs)}


def all_but(promises: set[str], outcome: Outcome) -> dict[str, Outcome]:
    return {
        promise.name: outcome if promise.name in promises else Outcome.PASS for promise in PROMISES
    }


def about(rung: str, quantity: str) -> set[str]:
    """The promises that say something of this quantity of this rung."""
    return {
        promise.name
        for promise in PROMISES
        if promise.quantity == quantity and rung in {promise.upper, promise.lower}
    }


def test_what_theory_says_is_kept() -> None:
    assert outcomes(RUNGS) == all_but(set(), Outcome.PASS)


def test_every_layer_below_the_first_has_a_promise() -> None:
    assert {promise.lower for promise in PROMISES} == set(LAYERS[1:])


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_a_layer_that_takes_nothing_away_is_a_contradiction(promise: Promise) -> None:
    value = BROKEN.get(promise.name, 1.0)
    rungs = spoiled(promise.lower, promise.quantity, (value, value, value))
    assert outcomes(rungs) == all_but({promise.name}, Outcome.FAIL)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_a_layer_that_had_nothing_to_take_away_is_a_contradiction(promise: Promise) -> None:
    rungs = spoiled(promise.upper, promise.quantity, (0.0, 0.0, 0.0))
    assert outcomes(rungs)[promise.name] is Outcome.FAIL


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
@pytest.mark.parametrize("side", ["upper", "lower"])
def test_what_was_not_measured_is_an_error(promise: Promise, side: str) -> None:
    rung = getattr(promise, side)
    found = outcomes(spoiled(rung, promise.quantity, None))
    assert found == all_but(about(rung, promise.quantity), Outcome.ERROR)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_a_round_without_a_value_is_an_error(promise: Promise) -> None:
    good = next(rung for rung in RUNGS if rung.name == promise.lower).measures[promise.quantity]
    rounds = (None, *good.rounds[1:])
    assert outcomes(spoiled(promise.lower, promise.quantity, rounds))[promise.name] is Outcome.ERROR


def test_one_round_that_breaks_a_promise_is_enough_and_is_shown() -> None:
    rungs = spoiled("vhost", "ping-pong.qemu_syscalls", (0.0, 4.5, 0.0))
    (broken,) = (each for each in kept(rungs) if each.outcome is Outcome.FAIL)
    assert broken.name == "vhost-syscalls"
    assert "vhost 0.00, 4.50, 0.00" in broken.observed


def test_a_contradiction_is_not_hidden_by_a_round_that_is_missing() -> None:
    rungs = spoiled("vhost", "ping-pong.qemu_syscalls", (None, 4.5, 0.0))
    assert outcomes(rungs)["vhost-syscalls"] is Outcome.FAIL


def windowed(name: str, windows: Sequence[float]) -> tuple[Rung, ...]:
    """The ladder with a rung whose guest stops for QEMU so often a packet, window by window."""
    ping_pong = tuple(
        window("ping-pong", {TO_QEMU: {"KVM_EXIT_MMIO": round(100 * each)}}) for each in windows
    )
    seen = CostsEvidence(
        guest="guest", nic="nic0", kvm=True, windows=(*ping_pong, window("idle", {TO_QEMU: {}}))
    )
    found = evidence(name).model_copy(update={"costs": (seen,)})
    expected = Expectation(guest="guest", nic="nic0")
    plan = sample.plan().model_copy(update={"expectations": (expected,)})
    run = Run(result(name).model_copy(update={"costs": costs_in(plan, found)}), found)
    exits = rung_of(name, [run], None).measures["ping-pong.exits_to_qemu"]
    return tuple(
        rung.model_copy(update={"measures": {**rung.measures, "ping-pong.exits_to_qemu": exits}})
        if rung.name == name
        else rung
        for rung in RUNGS
    )


def window(pattern: str, counters: dict[str, dict[str, int]]) -> CostWindow:
    return CostWindow.model_validate(
        {
            "pattern": pattern,
            "traced": True,
            "packets": 0 if pattern == "idle" else 100,
            "seconds": 0.1,
            "counters": counters,
        }
    )


OFTEN = [0.0] * 20 + [1.0] * 10 + [2.0] * 10 + [3.0] * 10
HALF = [0.0] * 26 + [1.0] * 24
RARE = [0.0] * 38 + [0.25] * 11 + [14.0]


@pytest.mark.parametrize(
    ("windows", "outcome"),
    [(OFTEN, Outcome.FAIL), (HALF, Outcome.FAIL), (RARE, Outcome.PASS), ([0.0] * 50, Outcome.PASS)],
    ids=["in most windows", "in half of them", "in few", "in none"],
)
def test_what_the_windows_with_none_would_hide_breaks_a_promise(
    windows: list[float], outcome: Outcome
) -> None:
    assert outcomes(windowed("virtio", windows))["virtio-exits"] is outcome
    assert bool(flags(windowed("sriov", windows))) is (outcome is Outcome.FAIL)


def test_a_span_that_breaks_a_promise_is_shown() -> None:
    (broken,) = (each for each in kept(windowed("virtio", HALF)) if each.outcome is Outcome.FAIL)
    assert "virtio 0.00 to 1.00" in broken.observed


def test_exits_cannot_be_counted_without_kvm_and_nothing_else_is_excused() -> None:
    emulated = Accelerators(labhost=None, guest="tcg")
    rungs = tuple(
        rung.model_copy(update={"accelerator": emulated, "measures": {}}) for rung in RUNGS
    )
    found = outcomes(rungs)
    assert found.pop("virtio-exits") is Outcome.SKIP
    assert set(found.values()) == {Outcome.ERROR}


def test_promises_are_held_against_rungs_that_were_climbed() -> None:
    def names(*wanted: str) -> list[str]:
        found: tuple[Kept, ...] = kept([rung for rung in RUNGS if rung.name in wanted])
        return [each.name for each in found]

    assert names("virtio", "vhost") == ["vhost-syscalls"]
    assert names("vhost") == []


@pytest.mark.parametrize(("value", "flagged"), [(0.009, False), (0.02, True)])
def test_a_vf_that_stops_for_qemu_is_flagged_with_the_reasons(value: float, flagged: bool) -> None:
    key = "burst.exits_to_qemu"
    rungs = tuple(
        rung.model_copy(update={"reasons": {key: {"KVM_EXIT_MMIO": value}}})
        for rung in spoiled("sriov", key, (value, value, value))
    )
    found = flags(rungs)
    assert [(flag.rung, flag.reasons) for flag in found] == (
        [("sriov", {"KVM_EXIT_MMIO": value})] if flagged else []
    )


def test_a_layer_that_promises_no_such_thing_is_not_flagged() -> None:
    assert flags(RUNGS) == ()
