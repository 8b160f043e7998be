"""What runs measured, as a rung: every round's value, from costs and from evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from lab.errors import StartError
from lab.evidence.carrier import QueuesEvidence
from lab.plan.data import Carrier, Place
from lab.report.costs import Costs
from lab.report.measured import Run, rung_of
from lab.report.quantities import BRIDGES, HOST_HOPS, THREADS
from lab.report.result import failed_result
from lab.report.rungs import Measure
from lab.report.verdict import Check, Outcome
from tests.rungs import HOPS, WOBBLE, costs, evidence, result, runs

VHOST = runs()["vhost"]
DEAD = Run(failed_result("vhost", Place.LABHOST, StartError("the guest died")))


def costing(name: str, found: Costs) -> Run:
    """A run that measured this."""
    return Run(result(name).model_copy(update={"costs": {"guest.nic0": found}}))


def test_a_rung_has_the_value_of_every_round_and_the_span_of_all_windows() -> None:
    measure = rung_of("vhost", VHOST, None).measures["ping-pong.vhost_wakeups"]
    assert measure.rounds == WOBBLE
    assert measure.mean == pytest.approx(sum(WOBBLE) / 3)
    assert (measure.low, measure.high) == (min(WOBBLE) * 0.99, max(WOBBLE) * 1.01)


def test_a_count_is_steady_where_it_is_in_every_round() -> None:
    sound, (counted,) = costs("vhost"), costs("vhost").counted[:1]
    kicks = counted.counts["kicks"].model_copy(update={"lower": 0.3, "upper": 0.9})
    chance = counted.model_copy(update={"counts": {**counted.counts, "kicks": kicks}})
    found = [costing("vhost", costs) for costs in (sound, Costs(counted=(chance,)))]
    measures = rung_of("vhost", found, None).measures
    assert unsteady(measures) == {"ping-pong.kicks"}


def test_a_count_of_which_each_round_says_something_else_is_chance() -> None:
    found = [costing("vhost", costs("vhost", wobble)) for wobble in (1.0, 1.2)]
    assert "ping-pong.kicks" in unsteady(rung_of("vhost", found, None).measures)


def unsteady(measures: Mapping[str, Measure]) -> set[str]:
    return {key for key, each in measures.items() if not each.steady}


def test_it_has_who_carried_the_packets_and_the_way() -> None:
    rung = rung_of("vhost", VHOST, "virtio")
    assert (rung.name, rung.above, rung.carrier) == ("vhost", "virtio", Carrier.VHOST)
    assert [hop.hop for hop in rung.paths[0].hops] == ["wire", *HOPS["vhost"], "guest"]
    assert rung.folders == ("out/1-vhost", "out/2-vhost", "out/3-vhost")


@pytest.mark.parametrize(
    ("name", "hops", "bridges", "threads"),
    [
        ("e1000", 3, 1, 0),
        ("vhost", 3, 1, 1),
        ("macvtap", 2, 0, 1),
        ("passthrough", 0, 0, 0),
        ("multiqueue", 3, 1, 2),
    ],
)
def test_devices_and_threads_on_the_way(name: str, hops: int, bridges: int, threads: int) -> None:
    measures = rung_of(name, runs()[name], None).measures
    found = (measures[HOST_HOPS].mean, measures[BRIDGES].mean, measures[THREADS].mean)
    assert found == (hops, bridges, threads)


def test_a_bridge_that_nobody_expected_is_counted_all_the_same() -> None:
    """It is the evidence that counts, not the hops that the topology names."""
    other = replace(VHOST[0], result=result("macvtap"))
    assert rung_of("macvtap", [other], None).measures[BRIDGES].mean == 1


@pytest.mark.parametrize("lost", ["devices", "probes", "captures"])
def test_without_evidence_there_is_no_number_of_bridges(lost: str) -> None:
    spoiled = evidence("macvtap").model_copy(update={lost: ()})
    run = Run(result("macvtap"), spoiled)
    assert BRIDGES not in rung_of("macvtap", [run], None).measures


def test_a_probe_that_nobody_saw_passed_no_bridge_and_proves_none() -> None:
    seen = evidence("macvtap")
    lost = tuple(probe.model_copy(update={"sightings": ()}) for probe in seen.probes)
    run = Run(result("macvtap"), seen.model_copy(update={"probes": lost}))
    assert BRIDGES not in rung_of("macvtap", [run], None).measures


def test_threads_that_could_not_be_watched_are_not_counted() -> None:
    seen = evidence("vhost")
    blind = seen.carriers[0].model_copy(update={"missing": ("no trace",)})
    run = Run(result("vhost"), seen.model_copy(update={"carriers": (blind,)}))
    assert THREADS not in rung_of("vhost", [run], None).measures


def test_where_flows_could_not_be_watched_echoes_do_not_stand_in() -> None:
    """They wake one thread, whatever there is to wake."""
    seen = evidence("multiqueue")
    blind = QueuesEvidence(
        guest="guest", nic="nic0", flows=64, queues=(), vhost_threads=(), missing=("no trace",)
    )
    run = Run(result("multiqueue"), seen.model_copy(update={"queues": (blind,)}))
    assert THREADS not in rung_of("multiqueue", [run], None).measures


def test_a_rung_that_names_no_hops_is_measured_all_the_same() -> None:
    seen = evidence("vhost")
    vhost = seen.carriers[0].model_copy(update={"round_trips": 9})
    seen = seen.model_copy(update={"carriers": (vhost,)})
    run = Run(result("vhost").model_copy(update={"paths": ()}), seen)
    rung, whole = rung_of("mine", [run, DEAD], None), rung_of("vhost", VHOST[:1], None)
    assert rung.measures.keys() == whole.measures.keys()
    assert (rung.carrier, rung.paths) == (Carrier.VHOST, ())
    assert rung.accelerator == whole.accelerator


def test_a_round_that_failed_keeps_its_place_and_its_reason() -> None:
    rung = rung_of("vhost", [VHOST[0], DEAD, VHOST[2]], None)
    assert rung.measures["burst.kicks"].rounds == (0.5, None, 0.5 * WOBBLE[2])
    assert (rung.outcome, rung.status) == (Outcome.ERROR, StartError.status)
    assert rung.problems == ("the guest died",)
    assert rung.carrier is Carrier.VHOST


def test_a_rung_of_which_every_run_failed_has_no_measures() -> None:
    rung = rung_of("vhost", [DEAD, DEAD], None)
    assert rung.measures == {}
    assert rung.problems == ("the guest died",)


def test_a_red_check_is_a_problem() -> None:
    check = Check(
        name="hops.in", outcome=Outcome.FAIL, expected="all", observed="none", evidence=""
    )
    red = result("vhost").model_copy(
        update={"checks": (check,), "outcome": Outcome.FAIL, "status": 1}
    )
    rung = rung_of("vhost", [Run(red)], None)
    assert rung.problems == ("hops.in: none (expected: all)",)
    assert rung.outcome is Outcome.FAIL


def test_reasons_are_the_mean_of_all_rounds() -> None:
    first, second = (costs("e1000") for _ in range(2))
    counted = first.counted[0].model_copy(
        update={"reasons": {"exits_to_qemu": {"KVM_EXIT_MMIO": 3.0, "KVM_EXIT_IO": 1.0}}}
    )
    other = counted.model_copy(update={"reasons": {"exits_to_qemu": {"KVM_EXIT_MMIO": 2.0}}})
    rounds = [
        costing("e1000", costs_.model_copy(update={"counted": (part,)}))
        for costs_, part in ((first, counted), (second, other))
    ]
    rung = rung_of("e1000", rounds, None)
    assert rung.reasons == {
        "ping-pong.exits_to_qemu": {"KVM_EXIT_MMIO": 2.5, "KVM_EXIT_IO": 0.5},
    }


def test_what_was_not_measured_says_why() -> None:
    missing = costs("vhost").model_copy(update={"tcp": None, "not_measured": {"tcp": "no iperf3"}})
    rung = rung_of("vhost", [costing("vhost", missing)], None)
    assert rung.not_measured == {"tcp": "no iperf3"}
    assert "rate.tcp_in" not in rung.measures
