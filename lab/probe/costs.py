"""What the packets of one NIC cost: windows of ICMP echoes in which the host's kernel is watched.

    idle, due times     untraced: CPU time, round trips
    ping-pong, idle     traced, in turns
    bursts              traced

The same windows tell who carries the packets (`lab.probe.carrier`) and how often the guest stops
for them (`lab.probe.exits`). Where the plan says so echoes are spaced, so that whoever works on one
has gone to sleep before the next: otherwise a busy machine would save wake-ups that a quiet one
makes.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

from lab.errors import CannotError
from lab.evidence.costs import CostsEvidence, CostWindow, DueEvidence, TcpEvidence, Trial
from lab.plan.data import CostLevel, ProbePlan
from lab.probe.echoes import Echoes
from lab.probe.lane import Guest, Lane
from lab.probe.qemu import Qemu, cpu_ns
from lab.probe.rate import zero_loss_trials
from lab.probe.tcp import observe_tcp
from lab.probe.trace import open_tracing
from lab.probe.watch import Counts, Watch

BURST = 64
QEMU_NS, VHOST_NS = "cpu_qemu_ns", "cpu_vhost_ns"

# A window is short, so that what disturbs one packet spoils little; the report takes the middle.
_TRIPS = 2
_WINDOWS_BETWEEN_IDLE = 10
_IDLE_TRIPS = 5
_WARM_UP = 5
_SHORT_IDLE = 25
_DUE = {CostLevel.BRIEF: 50, CostLevel.TCP: 100, CostLevel.FULL: 500}
# How many times the plan's round trips.
_TIMES = {CostLevel.BRIEF: 1, CostLevel.TCP: 1, CostLevel.FULL: 3}
# How long to wait between echoes, in round trips; and what a kernel's timer needs at least.
_PAUSE_TRIPS, _SHORTEST_PAUSE_NS, _LONGEST_PAUSE_NS = 2, 1_000_000, 20_000_000
# The beginning and the end of a window of bursts cost more than its middle.
_BURSTS = {CostLevel.BRIEF: 8, CostLevel.TCP: 8, CostLevel.FULL: 16}
_UNTRACED_BURSTS = 4
_LEAST_BURST_WINDOWS, _MOST_BURST_WINDOWS = 2, 6
_BURST_SECONDS = {CostLevel.BRIEF: 0.2, CostLevel.TCP: 0.2, CostLevel.FULL: 2.0}


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
            trials=self.trials,
            tcp=self.tcp,
            unmeasured=self.unmeasured,
            missing=self.missing,
        )


def observe_costs(probe: ProbePlan, guest: Guest, qemu: Qemu, sock: socket.socket) -> Costing:
    """Count and time echoes on ``sock`` (`lab.probe.echoes.open_icmp`).

    Nobody may use the guest agent or QMP meanwhile.
    """
    costing = Costing(kvm=guest.evidence().accelerator == "kvm")
    echoes = Echoes(sock)
    try:
        pause = _warm_up(echoes, probe.window)
        _untraced(costing, echoes, qemu, pause, probe.costs)
        with open_tracing() as tracing:
            watch = Watch(tracing, qemu, kvm=costing.kvm)
            costing.unmeasured |= watch.refused
            for windows in (_ping_pong, _bursts):
                tracing.start()
                recorded = windows(echoes, pause, probe)
                tracing.stop()
                _close(costing, watch, recorded)
    except CannotError as error:
        costing.missing = (error.message,)
    return costing


def observe_rates(costing: Costing, lane: Lane, sock: socket.socket) -> None:
    """TCP, and rates without loss where all is asked for; in the namespace of the tester."""
    if lane.probe.costs is CostLevel.FULL:
        costing.trials = zero_loss_trials(sock)
    try:
        costing.tcp = observe_tcp(lane)
    except CannotError as error:
        costing.unmeasured["tcp"] = error.message


def _warm_up(echoes: Echoes, wanted: int) -> int:
    """The pause between echoes in nanoseconds."""
    trips = [_answered(echoes, number, wanted) for number in range(_WARM_UP)]
    pause = int(_PAUSE_TRIPS * statistics.median(trips))
    return min(max(pause, _SHORTEST_PAUSE_NS), _LONGEST_PAUSE_NS)


def _untraced(costing: Costing, echoes: Echoes, qemu: Qemu, pause: int, level: CostLevel) -> None:
    """None, packets at due times, bursts."""
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
    costing.windows.append(_untraced_bursts(costing, echoes, qemu, pause))
    costing.due = DueEvidence(sent=sent.sent, pause_ns=pause, trips_ns=sent.since_due_ns)


def _untraced_bursts(costing: Costing, echoes: Echoes, qemu: Qemu, pause: int) -> CostWindow:
    before = _cpu(costing, qemu)
    packets, lost = _burst_window(echoes, pause, _UNTRACED_BURSTS)
    after = _cpu(costing, qemu)
    window = _Window("burst", before.time_ns, after.time_ns, packets, lost)
    return window.closed(after.since(before), traced=False)


def _burst_window(echoes: Echoes, pause: int, bursts: int) -> tuple[int, int]:
    """How many packets crossed, and how many echoes were lost."""
    sent = bursts * BURST
    answered = echoes.bursts(bursts, BURST)
    echoes.rest(pause)
    return sent + answered, sent - answered


def _cpu(costing: Costing, qemu: Qemu) -> _Cpu:
    """Now, and how long the threads of each group have run."""
    threads = {QEMU_NS: qemu.threads} | ({VHOST_NS: qemu.vhosts} if qemu.vhosts else {})
    try:
        groups = {group: cpu_ns(tids) for group, tids in threads.items()}
    except CannotError as error:
        groups = {}
        costing.unmeasured |= dict.fromkeys(threads, error.message)
    return _Cpu(time.monotonic_ns(), groups)


def _ping_pong(echoes: Echoes, pause: int, probe: ProbePlan) -> list[_Window]:
    """Windows with packets, and ones without between them."""
    round_trips = probe.window * _TIMES[probe.costs]
    after_each = pause if probe.spaced else 0
    windows = []
    for index in range(round_trips // _TRIPS):
        windows.append(_trips(echoes, after_each, index * _TRIPS, round_trips))
        if index % _WINDOWS_BETWEEN_IDLE == _WINDOWS_BETWEEN_IDLE - 1:
            began = time.monotonic_ns()
            echoes.rest(_IDLE_TRIPS * pause)
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


def _bursts(echoes: Echoes, pause: int, probe: ProbePlan) -> list[_Window]:
    """The windows are as many as a slow path lets them be within a time."""
    windows: list[_Window] = []
    end = time.monotonic() + _BURST_SECONDS[probe.costs]
    while len(windows) < _LEAST_BURST_WINDOWS or (
        len(windows) < _MOST_BURST_WINDOWS and time.monotonic() < end
    ):
        began = time.monotonic_ns()
        packets, lost = _burst_window(echoes, pause, _BURSTS[probe.costs])
        windows.append(_Window("burst", began, time.monotonic_ns(), packets, lost))
    return windows


def _close(costing: Costing, watch: Watch, windows: list[_Window]) -> None:
    """Give windows what was counted in them."""
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
