"""Carries out a plan, in the lab host or here: build, start, observe, put back.

    network   bridge, taps, ports                      lab.host
    guest     QEMU up, the guest agent answers         lab.guest
    nic       plugged in, addresses, carrier           lab.guest
    (ready    and at rest, where that was asked for)
    migration one guest moves, where that is planned   lab.guest, lab.probe
    probe     marked packets, captures, counters       lab.probe
    unplug    NICs that were plugged in, out again     lab.guest
    (held     for a look, where that was asked for)
    undo      everything as it was, and a look at it   lab.guest, lab.host

The evidence leaves before the undo; an error is told after it, with what the consoles said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.artifacts import DMESG_FILE
from lab.errors import LabError
from lab.events import Artifact, Emit, Failed, Held, Note, Observed, Stage, Undone
from lab.evidence.guest import HotplugEvidence, Pair
from lab.evidence.migration import MigrationEvidence
from lab.evidence.whole import Evidence
from lab.guest.hotplug import Hotplug
from lab.guest.memory import scattered_mib
from lab.guest.migration import Sides
from lab.guest.pair import PAIR_SECONDS, pair
from lab.guest.qemu import Guest, start
from lab.host.fds import open_fds
from lab.host.host import Host, open_host
from lab.host.kernel import open_kernel_log
from lab.host.operations import Operations
from lab.plan.data import VETH, Facts, GuestPlan, MigrationPlan, Place, Plan
from lab.plan.operations import AddVeth, FillChecksums, LinkUp, Operation
from lab.plan.where import WIRE
from lab.probe.life import observe_lives
from lab.probe.migration import Move, lives_on, observe_migration, refused
from lab.probe.observe import observe

_CARRIER_SECONDS = 30.0


@dataclass(frozen=True)
class Pauses:
    """Where a run waits for whoever asked for it.

    ``ready`` is called when all is up, and returns the plan to go on with; ``hold`` returns when
    the undo may begin.
    """

    ready: Callable[[], Plan] | None = None
    hold: Callable[[], object] | None = None


@dataclass(frozen=True)
class _Run:
    """One run: what it was asked, where it tells, and what it has started so far."""

    plan: Plan
    host: Host
    emit: Emit
    folder: Path
    operations: Operations
    cable: tuple[Operation, ...]
    pauses: Pauses
    running: ExitStack = field(default_factory=ExitStack)
    guests: dict[str, Guest] = field(default_factory=dict)
    targets: dict[str, Guest] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    hotplugs: dict[str, Hotplug] = field(default_factory=dict)


def execute(
    plan: Plan,
    emit: Emit,
    folder: Path,
    kept: Mapping[str, Path] | None = None,
    pauses: Pauses = Pauses(),
) -> None:
    """Run ``plan`` with ``folder`` for its files; everything it does and finds is emitted.

    ``kept`` are files of namespaces that hold the ports already (`lab.host.lend`). A LabError
    becomes a `Failed` event, the last one, and is not raised.
    """
    failure = None
    cable = _cable(plan.facts, made=not kept)
    with open_kernel_log() as log:
        try:
            with open_host(plan.facts.place, kept) as host:
                operations = Operations(host)
                _there_and_back(_Run(plan, host, emit, folder, operations, cable, pauses))
        except LabError as error:
            failure = error
        (folder / DMESG_FILE).write_text(log.read())
    _hand_over(folder, emit)
    if failure:
        emit(_failed(failure), b"")


def _there_and_back(run: _Run) -> None:
    try:
        with _held(run):
            _there(run)
    except LabError:
        for guest in run.guests.values():
            guest.check()  # a guest that ended is the cause of whatever else failed
        raise
    finally:
        with _stage("undo", run.emit):
            _back(run)


@contextmanager
def _held(run: _Run) -> Iterator[None]:
    """Let everything stand for a look at it, the more so where something went wrong."""
    try:
        yield
    except LabError as error:
        if run.pauses.hold:
            run.emit(Note(text=error.message, warning=True), b"")
        raise
    finally:
        if run.pauses.hold:
            run.emit(Held(), b"")
            run.pauses.hold()


def _back(run: _Run) -> None:
    try:
        run.running.close()
    finally:
        run.emit(Undone(left=run.operations.undo()), b"")


def _there(run: _Run) -> None:
    with _stage("network", run.emit):
        run.operations.apply([*run.cable, *run.plan.operations])
    with _stage("guest", run.emit):
        refusal = _refused(run)
        _start_guests(run)
    with _stage("nic", run.emit):
        _connect(run)
    if run.pauses.ready:
        run = replace(run, plan=run.pauses.ready())
    moved = _migrate(run, run.plan.migration, refusal) if run.plan.migration else None
    with _stage("probe", run.emit):
        evidence = _observe(run).model_copy(update={"migration": moved})
    evidence = evidence.model_copy(update={"hotplugs": _unplug(run)})
    run.emit(Observed(evidence=evidence), b"")


def _cable(facts: Facts, *, made: bool) -> tuple[Operation, ...]:
    """A lab host has its cable already; here it is a veth pair, unless ports of the machine are."""
    if facts.place is Place.LABHOST:
        return ()
    uplink = facts.ports[0]
    ends = (
        FillChecksums(device=uplink.device),
        FillChecksums(device=facts.tester, where=WIRE),
    )
    veth = AddVeth(name=uplink.device, peer=facts.tester, peer_where=WIRE)
    return (
        *((veth,) if made else ()),
        *(ends if made or uplink.driver == VETH else ()),
    )


def _refused(run: _Run) -> str:
    plan = run.plan
    if plan.migration is None:
        return ""
    return refused(plan.migration, plan.facts, run.host, run.folder, run.emit)


def _start_guests(run: _Run) -> None:
    """One after the other: guests that boot at once share the cores and are no faster together."""
    for plan in run.plan.guests:
        guest = run.guests[plan.name] = _started(run, plan)
        guest.wait_ready()
    if run.plan.migration is not None:
        target = run.plan.migration.target
        run.targets[target.name] = _started(run, target)


def _started(run: _Run, plan: GuestPlan) -> Guest:
    def warn(text: str) -> None:
        run.emit(Note(text=text, warning=True), b"")

    cpu = run.plan.cpu
    guest = start(plan, run.plan.facts, run.folder, run.host, warn, cpu=cpu)
    return run.running.enter_context(guest)


def _migrate(run: _Run, plan: MigrationPlan, refusal: str) -> MigrationEvidence:
    """From here on the guest is the one where it went to."""
    sides = Sides(run.guests[plan.guest], run.targets[plan.target.name])
    before, facts = run.pairs[plan.guest], run.plan.facts
    with _stage("migration", run.emit):
        move = Move(plan, facts, run.host, run.folder, run.emit, sides, before, refusal)
        moved = observe_migration(move)
    run.guests[plan.guest] = lives_on(move, moved.outcome)
    return moved


def _connect(run: _Run) -> None:
    for name, guest in run.guests.items():
        run.hotplugs[name] = Hotplug(guest, lambda fds: open_fds(run.host, fds, run.folder))
        run.hotplugs[name].plug()
        if any(nic.failover for nic in guest.plan.nics):
            run.pairs[name] = pair(guest, PAIR_SECONDS)
    ups = [(op.where, op.device) for op in run.plan.operations if isinstance(op, LinkUp)]
    run.host.wait_carrier(ups, _CARRIER_SECONDS)


def _observe(run: _Run) -> Evidence:
    for guest in run.guests.values():
        _warn_of_scattered(run, guest)
    look = observe if run.plan.trace is None else observe_lives
    evidence = look(run.plan, run.host, run.guests, run.folder, run.emit)
    for guest in run.guests.values():
        guest.check()
    return evidence


def _warn_of_scattered(run: _Run, guest: Guest) -> None:
    """Where QEMU plays the NIC: a real one does not mind."""
    if run.plan.facts.place is Place.LABHOST and guest.plan.has_function:
        scattered = scattered_mib(Path(f"/proc/{guest.pid}/smaps"))
        if scattered:
            text = f"guest {guest.name}: {scattered} MiB of its memory are not in huge pages: "
            text += "the NIC that QEMU plays loses packets from there"
            run.emit(Note(text=text, warning=True), b"")


def _unplug(run: _Run) -> tuple[HotplugEvidence, ...]:
    """What came to a running guest leaves it before the guest ends."""
    if not any(nic.hotplug for guest in run.plan.guests for nic in guest.nics):
        return ()
    with _stage("unplug", run.emit):
        return tuple(each for hotplug in run.hotplugs.values() for each in hotplug.unplug())


def _hand_over(folder: Path, emit: Emit) -> None:
    """Every log that has something in it; evidence and captures have left by themselves."""
    for file in sorted(folder.glob("*.log")):
        if file.stat().st_size:
            emit(Artifact(name=file.name), file.read_bytes())


@contextmanager
def _stage(name: str, emit: Emit) -> Iterator[None]:
    began = time.monotonic()
    emit(Stage(name=name), b"")
    yield
    emit(Stage(name=name, seconds=round(time.monotonic() - began, 3)), b"")


def _failed(error: LabError) -> Failed:
    return Failed(
        status=error.status,
        message=error.message,
        hint=error.hint,
        argv=error.argv,
        returncode=error.returncode,
        output=error.output,
    )
