"""From windows to costs: counts per packet, what an idle machine does in as much time subtracted.

A window is short and something may disturb it. So a count is what most windows agree on; where
few do, it is the mean of their middle half, and a matter of chance.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.evidence.costs import (
    EXITS,
    INJECTED,
    MMIO_WRITES,
    QEMU_NS,
    SOFTIRQ_NS,
    SWITCHES,
    SYSCALLS,
    TIMER_WRITES,
    TIMING,
    TO_QEMU,
    VFIO_INTERRUPTS,
    VHOST_NS,
    WAKEUPS,
    CostsEvidence,
    CostWindow,
    DueEvidence,
    TcpEvidence,
    Trial,
)
from lab.evidence.packets import MarkedProbe
from lab.evidence.whole import Evidence
from lab.plan.data import Direction, Expectation, Plan
from lab.plan.where import HOST
from lab.report.bystanders import beside
from lab.report.costs import Costs, Count, Counted, Latency, Pattern, Tcp, ZeroLoss
from lab.report.path import probes_of

KERNEL_ONLY = "exits_kernel_only"
KICKS = "kicks"

_PLAIN = (
    TO_QEMU,
    SYSCALLS,
    *SWITCHES.values(),
    WAKEUPS,
    INJECTED,
    VFIO_INTERRUPTS,
)
_CPU_TIMES = {"cpu_qemu_us": QEMU_NS, "cpu_vhost_us": VHOST_NS}
_SOFTIRQ_TIME = ("cpu_softirq_us", SOFTIRQ_NS)
# How the hardware calls the exits (SVM, VMX) that are counted apart for these reasons.
_APART = {
    "MMIO": ("npf", "ept_misconfig", "ept_violation"),
    "IO": ("io", "io_instruction"),
    "timer": ("msr", "msr_write"),
}
_GROUPS = {
    KERNEL_ONLY: EXITS,
    KICKS: MMIO_WRITES,
    **_CPU_TIMES,
    _SOFTIRQ_TIME[0]: _SOFTIRQ_TIME[1],
}
_EXIT_GROUPS = (EXITS, TO_QEMU, TIMING, TIMER_WRITES)
_KVM_ONLY = (TO_QEMU, KERNEL_ONLY, TIMING, KICKS, INJECTED)
# The share of packets that the guest sends: it notifies the device of those.
_SENT = {"ping-pong": 0.5, "burst": 1.0}
# Below this a reason is noise of the idle subtraction.
_WORTH_TELLING = 0.005
# Values this near are the same count: what is subtracted of idle time is no whole number.
_SAME = 0.02
# The share of windows that agree on what is more than chance. Fewer would not be most of them: 0 in
# 40 % of them, and something in the others, was once told as 0.
_ENOUGH = 0.5
_DIGITS = 4
_FULL_ONLY = "only with --costs full"
_TCP_ONLY = "only with --costs tcp or full"

Measure = Callable[[CostWindow], float]


@dataclass(frozen=True)
class _Windows:
    """Like windows with packets, and the idle ones that are subtracted from them."""

    busy: Sequence[CostWindow]
    idle: Sequence[CostWindow]

    @property
    def groups(self) -> set[str]:
        """What was counted in all of them."""
        return set.intersection(*(set(each.counters) for each in (*self.busy, *self.idle)))

    def rate(self, group: str, detail: str | None = None) -> float:
        """Events per second while nothing crosses, in most windows of that kind.

        What happens in few of them happens in few of the others too, and does not count there.
        """
        rates = [_count(each, group, detail) / each.seconds for each in self.idle]
        return typical(rates) if rates else 0.0

    def per_packet(self, group: str, detail: str | None = None) -> list[float]:
        """Of each window, what is left without the idle ones' share."""
        rate = self.rate(group, detail)
        return [
            (_count(each, group, detail) - rate * each.seconds) / each.packets for each in self.busy
        ]


def costs_in(plan: Plan, evidence: Evidence) -> dict[str, Costs]:
    """What each NIC's packets cost, by ``GUEST.NIC``."""
    said = {(each.guest, each.nic): each for each in plan.expectations}
    return {
        f"{seen.guest}.{seen.nic}": _costs(seen, said[seen.guest, seen.nic], plan, evidence)
        for seen in evidence.costs
    }


def typical(values: Sequence[float]) -> float:
    """What most of some values agree on; where too few do, the mean of their middle half."""
    agreed = max((_like(each, values) for each in values), key=len)
    return statistics.fmean(agreed if len(agreed) >= _ENOUGH * len(values) else middle(values))


def middle(values: Sequence[float]) -> list[float]:
    """The middle half of some values, in order."""
    spare = len(values) // 4
    return sorted(values)[spare : len(values) - spare]


def _like(one: float, values: Sequence[float]) -> list[float]:
    return [each for each in values if abs(each - one) <= _SAME * abs(one)]


def _costs(seen: CostsEvidence, said: Expectation, plan: Plan, evidence: Evidence) -> Costs:
    patterns: tuple[Pattern, ...] = ("ping-pong", "burst")
    kicks = _notifies_by_kicks(said, evidence)
    probes = probes_of(said, evidence)
    bystanders = beside(plan, said, probes) & _host_devices(probes)
    return Costs(
        counted=tuple(
            _counted(seen, pattern, kicks=kicks) for pattern in patterns if _busy(seen, pattern)
        ),
        host_hops=_host_hops(probes, bystanders),
        bystanders=tuple(sorted(bystanders)),
        latency=_latency(seen.due) if seen.due and seen.due.trips_ns else None,
        observer=_observer(seen),
        zero_loss=tuple(_zero_loss(seen.trials)),
        tcp=_tcp(seen.tcp) if seen.tcp else None,
        not_measured=dict(_not_measured(seen)),
    )


def _busy(seen: CostsEvidence, pattern: str, *, traced: bool = True) -> list[CostWindow]:
    return [
        each
        for each in seen.windows
        if (each.pattern, each.traced) == (pattern, traced) and (each.packets or pattern == "idle")
    ]


def _counted(seen: CostsEvidence, pattern: Pattern, *, kicks: bool) -> Counted:
    traced = _Windows(_busy(seen, pattern), _busy(seen, "idle"))
    untraced = _Windows(_busy(seen, pattern, traced=False), _busy(seen, "idle", traced=False))
    counts = {**dict(_events(traced, kicks=kicks)), **dict(_times(traced, untraced))}
    return Counted(
        pattern=pattern,
        burst=seen.burst if pattern == "burst" else 1,
        windows=len(traced.busy),
        packets=round(statistics.fmean(each.packets for each in traced.busy)),
        counts=counts,
        reasons={name: told for name, told in _split(traced) if told},
    )


def _events(windows: _Windows, *, kicks: bool) -> Iterator[tuple[str, Count]]:
    for group in _PLAIN:
        if group in windows.groups:
            yield group, _count_of(windows.per_packet(group))
    if windows.groups >= set(_EXIT_GROUPS):
        every, to_qemu, timing, timer = (windows.per_packet(group) for group in _EXIT_GROUPS)
        left = zip(every, to_qemu, timer, strict=True)
        yield KERNEL_ONLY, _count_of([each - handed_on - own for each, handed_on, own in left])
        yield TIMING, _count_of([sum(both) for both in zip(timing, timer, strict=True)])
    if kicks and MMIO_WRITES in windows.groups:
        sent = _SENT[windows.busy[0].pattern]
        yield KICKS, _count_of([each / sent for each in windows.per_packet(MMIO_WRITES)])


def _times(traced: _Windows, untraced: _Windows) -> Iterator[tuple[str, Count]]:
    """Only the kernel's own work on packets is not known without tracing."""
    if untraced.busy and untraced.idle:
        for name, group in _CPU_TIMES.items():
            if group in untraced.groups:
                yield name, _count_of([ns / 1000 for ns in untraced.per_packet(group)])
    name, group = _SOFTIRQ_TIME
    if group in traced.groups:
        yield name, _count_of([ns / 1000 for ns in traced.per_packet(group)])


def _split(windows: _Windows) -> Iterator[tuple[str, dict[str, float]]]:
    """What counts are made of."""
    told = {
        group: dict(_reasons(windows, group))
        for group in (*_EXIT_GROUPS, SYSCALLS)
        if group in windows.groups
    }
    if told.keys() >= set(_EXIT_GROUPS):
        timer = told.pop(TIMER_WRITES)
        told[KERNEL_ONLY] = _without(told[EXITS], {**told[TO_QEMU], **timer})
        told[TIMING] = _by_size(told[TIMING] | timer)
    for group in (EXITS, TIMER_WRITES):
        told.pop(group, None)
    yield from told.items()


def _without(every: Mapping[str, float], apart: Mapping[str, float]) -> dict[str, float]:
    """The hardware's reasons of the exits that are not counted apart."""
    left = dict(every)
    for reason, names in _APART.items():
        name = next((name for name in names if name in left), "")
        if name and reason in apart:
            left[name] = round(left[name] - apart[reason], _DIGITS)
    return {name: value for name, value in left.items() if value >= _WORTH_TELLING}


def _reasons(windows: _Windows, group: str) -> Iterator[tuple[str, float]]:
    details = {detail for each in windows.busy for detail in each.counters[group]}
    found = {detail: typical(windows.per_packet(group, detail)) for detail in details}
    for detail, value in _by_size(found).items():
        if value >= _WORTH_TELLING:
            yield detail.removeprefix("KVM_EXIT_"), round(value, _DIGITS)


def _by_size(found: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _count(window: CostWindow, group: str, detail: str | None) -> int:
    details = window.counters[group]
    return sum(details.values()) if detail is None else details.get(detail, 0)


def _count_of(values: Sequence[float]) -> Count:
    """Less than an idle machine's share is nothing."""
    half = middle(values)
    told = typical(values), min(values), max(values), half[0], half[-1]
    mean, low, high, lower, upper = (round(max(each, 0.0), _DIGITS) for each in told)
    return Count(mean=mean, low=low, high=high, lower=lower, upper=upper)


def _latency(due: DueEvidence) -> Latency:
    cuts = _percentiles(due.trips_ns)
    return Latency(
        sent=due.sent,
        lost=due.sent - len(due.trips_ns),
        rate_pps=round(1e9 / due.pause_ns, 1),
        p50_us=cuts[50],
        p90_us=cuts[90],
        p99_us=cuts[99],
        max_us=round(max(due.trips_ns) / 1000, 1),
    )


def _percentiles(times_ns: Sequence[int]) -> Mapping[int, float]:
    """Every sample is kept, so that no histogram has to stand for them."""
    if len(times_ns) == 1:
        return dict.fromkeys((50, 90, 99), round(times_ns[0] / 1000, 1))
    cuts = statistics.quantiles(times_ns, n=100, method="inclusive")
    return {percent: round(cuts[percent - 1] / 1000, 1) for percent in (50, 90, 99)}


def _zero_loss(trials: Sequence[Trial]) -> Iterator[ZeroLoss]:
    """Of each size the rate of its last trial, which was to lose nothing; 0 if it did."""
    for size in dict.fromkeys(trial.size for trial in trials):
        mine = [trial for trial in trials if trial.size == size]
        good = mine[-1].reached and not mine[-1].lost
        yield ZeroLoss(
            size=size,
            pps=round(mine[-1].pps, 1) if good else 0.0,
            trials=len(mine),
            tester_limited=not any(trial.lost for trial in mine),
        )


def _tcp(seen: TcpEvidence) -> Tcp:
    return Tcp(
        in_mbit=round(seen.in_bps / 1e6, 2),
        out_mbit=round(seen.out_bps / 1e6, 2),
        transactions=round(seen.transactions / seen.seconds, 1),
    )


def _observer(seen: CostsEvidence) -> float | None:
    traced = [trip for each in _busy(seen, "ping-pong") for trip in each.trips_ns]
    if not (traced and seen.settled_trips_ns):
        return None
    return round(statistics.median(traced) / statistics.median(seen.settled_trips_ns), 3)


def _host_hops(probes: Iterable[MarkedProbe], bystanders: frozenset[str]) -> int | None:
    """The host's devices that the marked probe passed on its way in."""
    ins = [probe for probe in probes if probe.direction is Direction.IN]
    return len(_host_devices(ins) - bystanders) if ins else None


def _host_devices(probes: Iterable[MarkedProbe]) -> set[str]:
    """The host's devices that saw any of these probes."""
    sightings = (each for probe in probes for each in probe.sightings)
    return {each.device for each in sightings if each.where == HOST}


def _notifies_by_kicks(said: Expectation, evidence: Evidence) -> bool:
    """Whether every write of the guest to a device's registers says that there is something to do.

    So it is with virtio, and with a device of its own that is not trapped at all. Those of other
    NICs have many registers. A guest's NICs share one QEMU: that it holds a VFIO file says nothing
    of a NIC that is no function.
    """
    key = said.guest, said.nic
    virtio = any(
        (guest.name, nic.id) == key and nic.driver == "virtio_net"
        for guest in evidence.guests
        for nic in guest.nics
    )
    given = (each.vfio_fds for each in evidence.carriers if (each.guest, each.nic) == key)
    return virtio or (said.function is not None and any(given))


def _not_measured(seen: CostsEvidence) -> Iterator[tuple[str, str]]:
    names = {group: name for name, group in _GROUPS.items()}
    for group, why in seen.unmeasured.items():
        yield names.get(group, group), why
    if seen.missing:
        yield "counted", "; ".join(seen.missing)
    if not seen.kvm:
        yield from dict.fromkeys(_KVM_ONLY, "the guest runs without KVM").items()
    if not seen.trials and not seen.missing:
        yield "zero_loss", _FULL_ONLY
    if not (seen.tcp or seen.missing or "tcp" in seen.unmeasured):
        yield "tcp", _TCP_ONLY
