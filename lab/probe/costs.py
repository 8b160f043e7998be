"""What the packets of one NIC cost: windows of packets in which the host's kernel is watched.

    idle, due times     untraced: CPU time, round trips
    ping-pong, idle     traced, in turns: echoes
    bursts              traced: 64 packets that the guest hands over at once
    ping-pong, bursts   untraced: what watching costs, CPU time

The same windows tell who carries the packets (`lab.probe.carrier`) and how often the guest stops
for them (`lab.probe.exits`). While packets are counted everybody runs in a fixed order
(`lab.probe.order`), so that counts are those of the path and not of a race.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from lab.errors import CannotError
from lab.evidence.costs import (
    QEMU_NS,
    VHOST_NS,
    CostsEvidence,
    CostWindow,
    DueEvidence,
    TcpEvidence,
    Trial,
)
from lab.plan.data import CostLevel, ProbePlan
from lab.probe import bursts
from lab.probe.bursts import BURST
from lab.probe.echoes import Echoes
from lab.probe.lane import Lane
from lab.probe.order import in_order
from lab.probe.qemu import Qemu, cpu_ns
from lab.probe.rate import zero_loss_trials
from lab.probe.tcp import observe_tcp
from lab.probe.trace import Tracing, open_tracing
from lab.probe.watch import Counts, Watch

# A window is short, so that what disturbs one packet spoils little; the report takes the middle.
_TRIPS = 2
# Idle ones are as short: few of them then have something of the machine's own in them.
_WINDOWS_BETWEEN_IDLE = 5
_SETTLED_WINDOWS = 10
_WARM_UP = 5
_SHORT_IDLE = 10
_DUE = {CostLevel.BRIEF: 50, CostLevel.TCP: 100, CostLevel.FULL: 500}
# How many times the plan's round trips.
_TIMES = {CostLevel.BRIEF: 1, CostLevel.TCP: 1, CostLevel.FULL: 3}
# How long to wait between echoes, in round trips; and what a kernel's timer needs at least.
_PAUSE_TRIPS, _SHORTEST_PAUSE_NS, _LONGEST_PAUSE_NS = 2, 1_000_000, 20_000_000
_BURSTS = {CostLevel.BRIEF: 8, CostLevel.TCP: 16, CostLevel.FULL: 16}
_UNTRACED_BURSTS = 8
# Seconds until the guest begins; more where the first time it had before all were in order.
_DELAYS = (0.05, 0.6)


@dataclass(frozen=True)
class _Cpu:
    """When, and the CPU time of each group of threads until then."""

    time_ns: int
    groups: dict[str, int]

    def since(self, before: _Cpu) -> Counts:
        return {
            group: Counter({"all": ns - before.groups[group]}) for group, ns in self.groups.items()
        }


@dataclass(frozen=True)
class _Window:
    """A `CostWindow` whose counters are yet to be found."""

    pattern: Literal["idle", "ping-pong", "burst"]
    began_ns: int
    ended_ns: int
    packets: int = 0
    lost: int = 0
    trips_ns: tuple[int, ...] = ()

    def closed(self, counts: Counts, *, traced: bool) -> CostWindow:
        return CostWindow(
            pattern=self.pattern,
            traced=traced,
            packets=self.packets,
            lost=self.lost,
            seconds=(self.ended_ns - self.began_ns) / 1e9,
            counters={group: dict(counter) for group, counter in counts.items()},
            trips_ns=self.trips_ns,
        )


@dataclass
class Costing:
    """What was found so far. ``missing`` says why it ended before its end."""

    kvm: bool
    windows: list[CostWindow] = field(default_factory=list)
    due: DueEvidence | None = None
    settled_trips_ns: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()
    tcp: TcpEvidence | None = None
    unmeasured: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def round_trips(self) -> int:
        """Those that were traced and answered, in ping-pong."""
        return sum(len(window.trips_ns) for window in self._traced("ping-pong"))

    def total(self, group: str) -> Counter[str]:
        """What was counted in ping-pong, by detail."""
        return _sum(self._traced("ping-pong"), group)

    def without_idle(self, group: str) -> dict[str, int]:
        """The same without what as much time costs when no packet crosses."""
        busy, idle = self._traced("ping-pong"), self._traced("idle")
        share = _seconds(busy) / _seconds(idle) if idle else 0.0
        counts = self.total(group)
        counts.subtract({name: round(n * share) for name, n in _sum(idle, group).items()})
        return dict(+counts)

    def steady(self, group: str) -> Costing:
        """The middle of the traced windows alone, in order of what was counted of a group.

        The driver of another NIC may read all its registers once in two seconds (e1000's watchdog),
        which is nobody's packet.
        """
        kept = (*_middle(self._traced("ping-pong"), group), *_middle(self._traced("idle"), group))
        return replace(self, windows=list(kept))

    def _traced(self, pattern: str) -> list[CostWindow]:
        return [each for each in self.windows if each.traced and each.pattern == pattern]

    def evidence(self, probe: ProbePlan) -> CostsEvidence:
        return CostsEvidence(
            guest=probe.guest,
            nic=probe.nic,
            kvm=self.kvm,
            burst=BURST,
            windows=tuple(self.windows),
            due=self.due,
            settled_trips_ns=self.settled_trips_ns,
            trials=self.trials,
            tcp=self.tcp,
            unmeasured=self.unmeasured,
            missing=self.missing,
        )


def observe_costs(lane: Lane, qemu: Qemu, icmp: socket.socket, sink: socket.socket) -> Costing:
    """Count and time echoes on ``icmp`` (`open_icmp`) and bursts that come to ``sink``.

    Nobody else may use the guest agent or QMP meanwhile.
    """
    costing = Costing(kvm=lane.guest.evidence().accelerator == "kvm")
    echoes = Echoes(icmp)
    try:
        pause = _warm_up(echoes, lane.probe.window)
        _at_due_times(costing, echoes, qemu, pause, lane.probe.costs)
        with open_tracing() as tracing:
            watch = Watch(tracing, qemu, kvm=costing.kvm)
            costing.unmeasured |= watch.refused
            with _ordered(costing, qemu, tester_last=lane.probe.spaced):
                recorded = _ping_pong(costing, echoes, pause, lane.probe, tracing)
            _close(costing, watch, recorded)
            with _without(costing, "bursts"):
                _close(costing, watch, _bursts(costing, lane, qemu, tracing, sink))
        with _ordered(costing, qemu, tester_last=lane.probe.spaced):
            costing.settled_trips_ns = _settled(costing, echoes, pause, lane.probe)
        if lane.probe.costs is not CostLevel.BRIEF and "bursts" not in costing.unmeasured:
            costing.windows.append(_untraced_bursts(costing, lane, qemu, sink))
    except CannotError as error:
        costing.missing = (error.message,)
    return costing


def observe_rates(costing: Costing, lane: Lane, sock: socket.socket) -> None:
    """TCP, and rates without loss where all is asked for; in the namespace of the tester."""
    if lane.probe.costs is CostLevel.FULL:
        costing.trials = zero_loss_trials(sock)
    with _without(costing, "tcp"):
        costing.tcp = observe_tcp(lane)


def _warm_up(echoes: Echoes, wanted: int) -> int:
    """The pause between echoes in nanoseconds."""
    trips = [_answered(echoes, number, wanted) for number in range(_WARM_UP)]
    pause = int(_PAUSE_TRIPS * statistics.median(trips))
    return min(max(pause, _SHORTEST_PAUSE_NS), _LONGEST_PAUSE_NS)


def _at_due_times(
    costing: Costing, echoes: Echoes, qemu: Qemu, pause: int, level: CostLevel
) -> None:
    """No packets, then packets at due times."""
    before = _cpu(costing, qemu)
    echoes.rest(_SHORT_IDLE * pause)
    between = _cpu(costing, qemu)
    sent = echoes.at_due_times(_DUE[level], pause)
    after = _cpu(costing, qemu)
    answered = len(sent.since_sent_ns)
    packets, lost = sent.sent + answered, sent.sent - answered
    idle = _Window("idle", before.time_ns, between.time_ns)
    busy = _Window("ping-pong", between.time_ns, after.time_ns, packets, lost, sent.since_sent_ns)
    costing.windows += (
        idle.closed(between.since(before), traced=False),
        busy.closed(after.since(between), traced=False),
    )
    costing.due = DueEvidence(sent=sent.sent, pause_ns=pause, trips_ns=sent.since_due_ns)


def _cpu(costing: Costing, qemu: Qemu) -> _Cpu:
    """Now, and how long the threads of each group have run."""
    threads = {QEMU_NS: qemu.threads} | ({VHOST_NS: qemu.vhosts} if qemu.vhosts else {})
    try:
        groups = {group: cpu_ns(tids) for group, tids in threads.items()}
    except CannotError as error:
        groups = {}
        costing.unmeasured |= dict.fromkeys(threads, error.message)
    return _Cpu(time.monotonic_ns(), groups)


@contextmanager
def _ordered(costing: Costing, qemu: Qemu, *, tester_last: bool) -> Iterator[None]:
    """In order, where that is allowed; where it is not, ``order`` is unmeasured."""
    with ExitStack() as order:
        try:
            order.enter_context(in_order(qemu, tester_last=tester_last))
        except CannotError as error:
            costing.unmeasured["order"] = error.message
        yield


@contextmanager
def _without(costing: Costing, group: str) -> Iterator[None]:
    """What cannot be counted here is unmeasured; the rest goes on."""
    try:
        yield
    except CannotError as error:
        costing.unmeasured[group] = error.message


def _ping_pong(
    costing: Costing, echoes: Echoes, pause: int, probe: ProbePlan, tracing: Tracing
) -> list[_Window]:
    """Windows with packets, and ones without between them."""
    round_trips = probe.window * _TIMES[probe.costs]
    with tracing.recording():
        return _in_turns(echoes, round_trips, pause, _pause_after(costing, pause, probe))


def _settled(costing: Costing, echoes: Echoes, pause: int, probe: ProbePlan) -> tuple[int, ...]:
    """Round trips like the counted ones, when nothing is traced: not even what is thrown away."""
    after = _pause_after(costing, pause, probe)
    settled = [_trips(echoes, after, 0, probe.window) for _ in range(_SETTLED_WINDOWS)]
    return tuple(trip for each in settled for trip in each.trips_ns)


def _pause_after(costing: Costing, pause: int, probe: ProbePlan) -> int:
    """Where nobody is in order a pause lets all come to rest, if the machine is quiet."""
    return pause if probe.spaced and "order" in costing.unmeasured else 0


def _in_turns(echoes: Echoes, round_trips: int, pause: int, pause_after: int) -> list[_Window]:
    windows = []
    for index in range(round_trips // _TRIPS):
        windows.append(_trips(echoes, pause_after, index * _TRIPS, round_trips))
        if index % _WINDOWS_BETWEEN_IDLE == _WINDOWS_BETWEEN_IDLE - 1:
            echoes.rest(pause)  # what follows the last trip is over
            began = time.monotonic_ns()
            echoes.rest(pause)
            windows.append(_Window("idle", began, time.monotonic_ns()))
    return windows


def _trips(echoes: Echoes, pause: int, done: int, wanted: int) -> _Window:
    """Some round trips; with a pause after each, so that what follows one belongs to it."""
    began = time.monotonic_ns()
    trips = []
    for number in range(_TRIPS):
        trips.append(_answered(echoes, done + number, wanted))
        if pause:
            echoes.rest(max(pause - trips[-1], pause // 2))
    return _Window("ping-pong", began, time.monotonic_ns(), 2 * _TRIPS, 0, tuple(trips))


def _bursts(
    costing: Costing, lane: Lane, qemu: Qemu, tracing: Tracing, sink: socket.socket
) -> list[_Window]:
    """Those that were traced and came whole. Raises CannotError where few did."""
    wanted = _BURSTS[lane.probe.costs]
    start = bursts.start
    for delay in _DELAYS:
        tracing.clear()
        with tracing.recording():
            # The first of them only says when the second begins.
            start(lane, wanted + 1, delay)
            with _ordered(costing, qemu, tester_last=True):
                began = time.monotonic_ns()
                spans = bursts.spans(bursts.receive(sink, wanted + 1), began)
        if 2 * len(spans) >= wanted:
            return [_Window("burst", began, ended, BURST) for began, ended in spans]
        start = bursts.again
    raise CannotError(f"less than half of {wanted} bursts came whole and in time")


def _untraced_bursts(costing: Costing, lane: Lane, qemu: Qemu, sink: socket.socket) -> CostWindow:
    """For CPU time. Raises CannotError."""
    bursts.again(lane, _UNTRACED_BURSTS, _DELAYS[0])
    before = _cpu(costing, qemu)
    with _ordered(costing, qemu, tester_last=True):
        packets = sum(burst.packets for burst in bursts.receive(sink, _UNTRACED_BURSTS))
    after = _cpu(costing, qemu)
    window = _Window("burst", before.time_ns, after.time_ns, packets)
    return window.closed(after.since(before), traced=False)


def _close(costing: Costing, watch: Watch, windows: list[_Window]) -> None:
    """Give windows what was counted in them; nothing of it is kept."""
    spans = [(window.began_ns, window.ended_ns) for window in windows]
    counts = watch.counts(spans)
    costing.windows += (
        window.closed(found, traced=True) for window, found in zip(windows, counts, strict=True)
    )


def _sum(windows: list[CostWindow], group: str) -> Counter[str]:
    total = Counter[str]()
    for window in windows:
        total.update(window.counters.get(group, {}))
    return total


def _middle(windows: list[CostWindow], group: str) -> list[CostWindow]:
    """All but the quarter with the most and the quarter with the least."""
    ordered = sorted(windows, key=lambda each: sum(each.counters.get(group, {}).values()))
    cut = len(ordered) // 4
    return ordered[cut : len(ordered) - cut]


def _seconds(windows: list[CostWindow]) -> float:
    return sum(window.seconds for window in windows)


def _answered(echoes: Echoes, number: int, wanted: int) -> int:
    """Nanoseconds of one round trip. Raises CannotError where there is no answer."""
    trip = echoes.trip()
    if trip is None:
        raise CannotError(f"echo {number + 1} of {wanted} was not answered")
    return trip
