"""What the runs of one topology measured, as a rung of the ladder.

Costs come from the result. What its checks only compare with an expectation - which bridges saw
the probe, how many vhost threads worked - is counted again from the evidence, as seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lab.evidence.carrier import CarrierEvidence, QueuesEvidence
from lab.evidence.whole import Evidence
from lab.plan.data import Carrier
from lab.plan.where import HOST
from lab.report.carrier import carried_by
from lab.report.costs import Costs, Count, Counted
from lab.report.quantities import BRIDGES, HOST_HOPS, QUANTITIES, THREADS, Group
from lab.report.result import Result
from lab.report.rungs import Measure, Rung


@dataclass(frozen=True)
class Run:
    """One run of a rung, in one round; without evidence where it ended before its verdict."""

    result: Result
    evidence: Evidence | None = None
    folder: str = ""

    @property
    def nic(self) -> tuple[str, str]:
        """Guest and id of the NIC that is compared: the first one whose hops the topology names.

        Where it names none, the first one that was probed.
        """
        named = [(path.guest, path.nic) for path in self.result.paths]
        probes = self.evidence.probes if self.evidence else ()
        probed = [(probe.guest, probe.nic) for probe in probes]
        return next(iter(named + probed), ("", ""))

    @property
    def costs(self) -> Costs:
        """What this NIC's packets cost; nothing where the run did not come so far."""
        return self.result.costs.get(".".join(self.nic), Costs())


def rung_of(name: str, runs: Sequence[Run], above: str | None) -> Rung:
    """The rung of all its runs, one for each round."""
    last = next((run for run in reversed(runs) if any(run.nic)), runs[-1])
    return Rung(
        name=name,
        title=last.result.title,
        above=above,
        outcome=max(run.result.outcome for run in runs),
        status=max(run.result.status for run in runs),
        accelerator=last.result.accelerator,
        carrier=next(_carriers(last), None),
        paths=tuple(path for path in last.result.paths if (path.guest, path.nic) == last.nic),
        measures=_measures([dict(values_of(run)) for run in runs]),
        reasons=_reasons([run.costs for run in runs]),
        not_measured={key: why for run in runs for key, why in run.costs.not_measured.items()},
        problems=tuple(dict.fromkeys(words for run in runs for words in _problems(run))),
        folders=tuple(run.folder for run in runs if run.folder),
    )


def _carriers(run: Run) -> Iterator[Carrier | None]:
    """Who moved the packets: by the paths, and where the topology names none, by the counters."""
    yield from (path.carrier for path in run.result.paths)
    for seen in run.evidence.carriers if run.evidence else ():
        if (seen.guest, seen.nic) == run.nic and seen.round_trips:
            yield carried_by(seen)


def values_of(run: Run) -> Iterator[tuple[str, Count]]:
    """Everything that one run measured, by the key of its quantity."""
    costs = run.costs
    for counted in costs.counted:
        for name, count in counted.counts.items():
            yield f"{_group(counted)}.{name}", count
    yield from ((key, _exact(value)) for key, value in _single(costs) if value is not None)
    if run.evidence:
        yield from ((key, _exact(value)) for key, value in _seen(run, run.evidence))


def _group(counted: Counted) -> Group:
    return Group(counted.pattern)


def _single(costs: Costs) -> Iterator[tuple[str, float | None]]:
    """What a run has one value of."""
    if costs.latency:
        for name in ("p50_us", "p90_us", "p99_us", "max_us"):
            yield f"{Group.TIME}.{name}", getattr(costs.latency, name)
    if costs.tcp:
        yield f"{Group.RATE}.tcp_in", costs.tcp.in_mbit
        yield f"{Group.RATE}.tcp_out", costs.tcp.out_mbit
        yield f"{Group.RATE}.tcp_rr", costs.tcp.transactions
    for zero_loss in costs.zero_loss:
        yield f"{Group.RATE}.zero_loss_{zero_loss.size}", zero_loss.pps


def _seen(run: Run, evidence: Evidence) -> Iterator[tuple[str, float]]:
    """Devices that marked probes passed, and vhost threads that were woken for packets."""
    devices = _devices(run, evidence)
    if devices is not None:
        kinds = {device.name: device.kind for device in evidence.devices}
        yield HOST_HOPS, len(devices)
        if devices <= set(kinds):
            yield BRIDGES, sum(kinds[device] == "bridge" for device in devices)
    threads = _threads(run, evidence)
    if threads is not None:
        yield THREADS, threads


def _devices(run: Run, evidence: Evidence) -> set[str] | None:
    """The host's devices that a probe passed; unknown where nobody looked, or one was lost."""
    watched = any(capture.where == HOST for capture in evidence.captures)
    probes = [probe for probe in evidence.probes if (probe.guest, probe.nic) == run.nic]
    if not (watched and probes and all(probe.sightings for probe in probes)):
        return None
    sightings = (sighting for probe in probes for sighting in probe.sightings)
    seen = {sighting.device for sighting in sightings if sighting.where == HOST}
    return seen.difference(run.costs.bystanders)


def _threads(run: Run, evidence: Evidence) -> int | None:
    """Many flows are needed to wake them all; where none were sent, echoes must do."""
    watched: tuple[QueuesEvidence | CarrierEvidence, ...] = (*evidence.queues, *evidence.carriers)
    seen = next((each for each in watched if (each.guest, each.nic) == run.nic), None)
    if seen is None or seen.missing:
        return None
    return sum(thread.wakeups > 0 for thread in seen.vhost_threads)


def _exact(value: float) -> Count:
    return Count(mean=value, low=value, high=value)


def _measures(rounds: Sequence[Mapping[str, Count]]) -> dict[str, Measure]:
    """One measure for every quantity that any round has, in the order of a table."""
    return {
        quantity.key: _measure([values.get(quantity.key) for values in rounds])
        for quantity in QUANTITIES
        if any(quantity.key in values for values in rounds)
    }


def _measure(rounds: Sequence[Count | None]) -> Measure:
    counts = [count for count in rounds if count is not None]
    means = [count.mean for count in counts]
    least, most = min(means), max(means)
    among = Count(mean=fmean(means), low=least, high=most, lower=least, upper=most)
    return Measure(
        rounds=tuple(None if count is None else count.mean for count in rounds),
        middles=tuple(None if count is None else _middle(count) for count in rounds),
        mean=among.mean,
        low=min(count.low for count in counts),
        high=max(count.high for count in counts),
        steady=all(count.steady for count in (among, *counts)),
    )


def _middle(count: Count) -> tuple[float, float]:
    if count.lower is None or count.upper is None:
        return count.mean, count.mean
    return count.lower, count.upper


def _reasons(rounds: Sequence[Costs]) -> dict[str, dict[str, float]]:
    """The mean over the rounds; a reason that a round did not see is 0 in it."""
    found = [
        {
            f"{_group(counted)}.{name}": reasons
            for counted in costs.counted
            for name, reasons in counted.reasons.items()
        }
        for costs in rounds
        if costs.counted
    ]
    return {
        key: {
            reason: fmean(each.get(key, {}).get(reason, 0.0) for each in found)
            for reason in sorted({reason for each in found for reason in each.get(key, {})})
        }
        for key in sorted({key for each in found for key in each})
    }


def _problems(run: Run) -> Iterator[str]:
    """What is wrong with a run, a line each."""
    for check in run.result.checks:
        if not check.outcome.green:
            yield f"{check.name}: {check.observed} (expected: {check.expected})"
    if run.result.error:
        yield run.result.error.message
