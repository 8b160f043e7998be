"""Carries out a plan, in the lab host or here: build, start, observe, put back.

    network   bridge, taps, ports                      lab.host
    guest     QEMU up, the guest agent answers         lab.guest
    nic       plugged in, addresses, carrier           lab.guest
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
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError, StartError
from lab.events import Artifact, Emit, Failed, Held, Note, Observed, Stage, Undone
from lab.evidence import Evidence, HotplugEvidence
from lab.guest.hotplug import Hotplug
from lab.guest.qemu import Guest, start
from lab.host.fds import open_fds
from lab.host.host import Host, open_host
from lab.host.kernel import open_kernel_log
from lab.host.operations import Operations
from lab.plan.data import (
    VETH,
    WIRE,
    AddVeth,
    Facts,
    FillChecksums,
    LinkUp,
    Operation,
    Place,
    Plan,
)
from lab.probe.life import observe_lives
from lab.probe.observe import observe

_CARRIER_SECONDS = 30.0


@dataclass(frozen=True)
class _Run:
    """One run: what it was asked, where it tells, and what it has started so far."""

    plan: Plan
    host: Host
    emit: Emit
    folder: Path
    operations: Operations
    cable: tuple[Operation, ...]
    hold: Callable[[], None] | None = None
    running: ExitStack = field(default_factory=ExitStack)
    guests: dict[str, Guest] = field(default_factory=dict)
    hotplugs: dict[str, Hotplug] = field(default_factory=dict)


def execute(
    plan: Plan,
    emit: Emit,
    folder: Path,
    kept: Mapping[str, Path] | None = None,
    hold: Callable[[], None] | None = None,
) -> None:
    """Run ``plan`` with ``folder`` for its files; everything it does and finds is emitted.

    ``kept`` are files of namespaces that hold the ports already (`lab.host.lend`). ``hold`` returns
    when the undo may begin. A LabError becomes a `Failed` event, the last one, and is not raised.
    """
    failure = None
    cable = _cable(plan.facts, made=not kept)
    with open_kernel_log() as log:
        try:
            with open_host(plan.facts.place, kept) as host:
                _there_and_back(_Run(plan, host, emit, folder, Operations(host), cable, hold))
        except LabError as error:
            failure = error
        (folder / "dmesg.log").write_text(log.read())
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
        if run.hold:
            run.emit(Note(text=error.message, warning=True), b"")
        raise
    finally:
        if run.hold:
            run.emit(Held(), b"")
            run.hold()


def _back(run: _Run) -> None:
    try:
        run.running.close()
    finally:
        run.emit(Undone(left=run.operations.undo()), b"")


def _there(run: _Run) -> None:
    with _stage("network", run.emit):
        run.operations.apply([*run.cable, *run.plan.operations])
    with _stage("guest", run.emit):
        _start_guests(run)
    with _stage("nic", run.emit):
        _connect(run)
    with _stage("probe", run.emit):
        evidence = _observe(run)
    evidence = evidence.model_copy(update={"hotplugs": _unplug(run)})
    (run.folder / "evidence.json").write_text(evidence.model_dump_json(indent=1))
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


def _start_guests(run: _Run) -> None:
    """One after the other: guests that boot at once share the cores and are no faster together."""

    def warn(text: str) -> None:
        run.emit(Note(text=text, warning=True), b"")

    for plan in run.plan.guests:
        starting = start(plan, run.plan.facts, run.folder, run.host, warn)
        guest = run.guests[plan.name] = run.running.enter_context(starting)
        guest.wait_ready()


def _connect(run: _Run) -> None:
    for name, guest in run.guests.items():
        run.hotplugs[name] = Hotplug(guest, lambda fds: open_fds(run.host, fds, run.folder))
        run.hotplugs[name].plug()
    ups = [(op.where, op.device) for op in run.plan.operations if isinstance(op, LinkUp)]
    run.host.wait_carrier(ups, _CARRIER_SECONDS)


def _observe(run: _Run) -> Evidence:
    look = observe if run.plan.trace is None else observe_lives
    evidence = look(run.plan, run.host, run.guests, run.folder, run.emit)
    for guest in run.guests.values():
        guest.check()
    return evidence


def _unplug(run: _Run) -> tuple[HotplugEvidence, ...]:
    """What came to a running guest leaves it before the guest ends."""
    if not any(nic.hotplug for guest in run.plan.guests for nic in guest.nics):
        return ()
    with _stage("unplug", run.emit):
        return tuple(each for hotplug in run.hotplugs.values() for each in hotplug.unplug())


def _hand_over(folder: Path, emit: Emit) -> None:
    """The evidence and every log that has something in it; captures have left by themselves."""
    for file in sorted([*folder.glob("*.log"), *folder.glob("evidence.json")]):
        if file.stat().st_size:
            emit(Artifact(name=file.name), file.read_bytes())


@contextmanager
def _stage(name: str, emit: Emit) -> Iterator[None]:
    began = time.monotonic()
    emit(Stage(name=name), b"")
    yield
    emit(Stage(name=name, seconds=round(time.monotonic() - began, 3)), b"")


def _failed(error: LabError) -> Failed:
    kind = type(error).__name__
    if not isinstance(error, StartError):
        return Failed(kind=kind, message=error.message, hint=error.hint)
    return Failed(
        kind=kind,
        message=error.message,
        hint=error.hint,
        argv=error.argv,
        returncode=error.returncode,
        output=error.output,
    )
