"""The whole observation, one NIC after the other, while captures run at every hop."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Protocol

from lab import machine
from lab.artifacts import CAPTURE_FILE
from lab.events import Artifact, Emit
from lab.evidence.carrier import CarrierEvidence, ExitsEvidence, QueuesEvidence, RingEvidence
from lab.evidence.costs import CostsEvidence, Machine
from lab.evidence.host import Device, VfState
from lab.evidence.packets import Capture, Clock, Exchange, MarkedProbe
from lab.evidence.whole import Evidence
from lab.plan.data import CostLevel, Expectation, Plan, ProbePlan
from lab.plan.operations import AddBridge
from lab.plan.where import HOST, WIRE
from lab.probe import inside, questions
from lab.probe.bursts import open_sink
from lab.probe.capture import Frame, PacketCapture, open_capture
from lab.probe.carrier import carrier_evidence
from lab.probe.costs import observe_costs, observe_rates
from lab.probe.echoes import open_icmp
from lab.probe.exits import exits_evidence
from lab.probe.frames import Ends, build
from lab.probe.functions import functions_of, observe_functions, send_control, unseen
from lab.probe.hops import clock, in_order, marked_probe, on_host_clock
from lab.probe.inside import Answers
from lab.probe.lane import Guest, Lane
from lab.probe.mark import numbering, packets, stray
from lab.probe.pcapng import pcapng
from lab.probe.qemu import look
from lab.probe.queues import observe_queues
from lab.probe.reach import exchanges, frames_in, send_in, stream_in
from lab.probe.rings import observe_rings
from lab.probe.servers import servers


class Host(Protocol):
    """What the probes need of the host (`lab.host.host.Host` is one)."""

    def inside(self, where: str) -> AbstractContextManager[None]: ...
    def vfs(self, where: str, device: str) -> tuple[VfState, ...]: ...
    def kinds(self, where: str) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Sent:
    """What became of a lane's packets in the guest. ``frames`` are stamped by its own clock."""

    lane: Lane
    frames: tuple[Frame, ...]
    capture: Capture
    answers: Answers
    stream: bool


@dataclass(frozen=True)
class Watched:
    """What the captures saw of all lanes and questions, and the kinds of the host's devices."""

    sent: tuple[Sent, ...]
    heard: tuple[questions.Heard, ...]
    devices: Mapping[str, str]
    wire: PacketCapture
    path: PacketCapture
    captures: tuple[Capture, ...]


@dataclass(frozen=True)
class Counted:
    """What was counted while a lane's packets crossed."""

    carrier: CarrierEvidence
    exits: ExitsEvidence
    costs: CostsEvidence


@dataclass(frozen=True)
class View:
    """A lane's packets, the guest's ``frames`` on the host's clock."""

    sent: Sent
    clock: Clock | None
    frames: tuple[Frame, ...]


def observe(
    plan: Plan, host: Host, guests: Mapping[str, Guest], folder: Path, emit: Emit
) -> Evidence:
    """Send everything that the plan's probes ask for and tell what was seen.

    The captures are written to ``folder`` as one pcapng file and emitted. Raises StartError where a
    guest cannot do its part.
    """
    with _senders(plan, host) as senders:
        lanes = _lanes(plan, guests, senders[""].getsockname()[4].hex(":"))
        watched = _watched(plan, host, guests, senders, lanes)
        queues = tuple(_queues(host, senders, lanes))
    counted = tuple(_counted(host, lane) for lane in lanes)
    functions = observe_functions(plan, host, lanes)
    wire, path = watched.wire.frames, watched.path.frames
    views = [_view(each, in_order(wire, _on_path(plan, each.lane, path))) for each in watched.sent]
    answers = [_on_host_clock(each, views) for each in watched.heard]
    frames = in_order(wire, path, *(view.frames for view in views), *answers)
    save(folder / CAPTURE_FILE, pcapng(frames, _names(lanes) | questions.names(plan)), emit)
    return Evidence(
        place=plan.facts.place,
        qemu=next((guest.qemu_version() for guest in guests.values()), ""),
        host_kernel=os.uname().release,
        guests=tuple(guest.evidence() for guest in guests.values()),
        exchanges=tuple(each for view in views for each in _exchanges(view, wire)),
        probes=tuple(each for lane in lanes for each in _probes(lane, frames)),
        carriers=tuple(each.carrier for each in counted),
        exits=tuple(each.exits for each in counted),
        costs=tuple(each.costs for each in counted),
        queues=queues,
        rings=tuple(_rings(plan, lanes)),
        clocks=tuple(view.clock for view in views if view.clock),
        captures=watched.captures,
        functions=functions.seen,
        vfs=functions.vfs,
        mac_attempts=functions.mac_attempts,
        unseen=tuple(unseen(lane.probe, lane.packets, frames) for lane in lanes),
        strays=tuple(marked_probe(lane.probe, lane.stray, frames) for lane in lanes if lane.stray),
        asked=questions.asked(plan, frames),
        devices=tuple(Device(name=name, kind=kind) for name, kind in watched.devices.items()),
        machine=Machine(cpu=machine.cpu(), clock_source=machine.clock_source()),
        missing=tuple(_no_clock(view) for view in views if view.clock is None),
    )


def _watched(
    plan: Plan,
    host: Host,
    guests: Mapping[str, Guest],
    senders: Mapping[str, socket.socket],
    lanes: tuple[Lane, ...],
) -> Watched:
    with _captures(plan, host) as (wire, path):
        if functions_of(plan):
            send_control(host)
        sent = tuple(_send(host, wire, senders, lane) for lane in lanes)
        heard = tuple(questions.put(plan, host, guests, wire))
        devices = host.kinds(HOST)
        captures = (
            *(wire.finish(), path.finish()),
            *(each.capture for each in sent),
            *(each.capture for each in heard),
        )
    return Watched(sent, heard, devices, wire, path, captures)


@contextmanager
def _senders(plan: Plan, host: Host) -> Iterator[Mapping[str, socket.socket]]:
    """Packet sockets on the tester's devices that receive nothing (protocol 0), by device.

    The empty name is the tester's end of the cable, as in `ProbePlan.device`.
    """
    with ExitStack() as stack:
        senders: dict[str, socket.socket] = {}
        for device in dict.fromkeys(("", *(probe.device for probe in plan.probes))):
            with host.inside(WIRE):
                sock = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            sock.bind((device or plan.facts.tester, 0))
            senders[device] = sock
        yield senders


def _lanes(plan: Plan, guests: Mapping[str, Guest], tester_mac: str) -> tuple[Lane, ...]:
    numbers = numbering()
    return tuple(
        Lane(
            probe=probe,
            guest=guests[probe.guest],
            nic=guests[probe.guest].nics[probe.nic],
            ends=ends_of(tester_mac, guests[probe.guest], probe),
            packets=packets(probe, numbers),
            stray=stray(numbers) if probe.device else None,
        )
        for probe in plan.probes
    )


def ends_of(tester_mac: str, guest: Guest, probe: ProbePlan) -> Ends:
    """Who is at the ends of a probe's path; ``tester_mac`` is that of the tester's device."""
    nic = next(nic for nic in guest.plan.nics if nic.id == probe.nic)
    return Ends(
        tester_mac=tester_mac,
        tester=IPv4Interface(probe.peer).ip,
        guest_mac=nic.mac,
        guest=IPv4Interface(nic.address).ip,
    )


@contextmanager
def _captures(plan: Plan, host: Host) -> Iterator[tuple[PacketCapture, PacketCapture]]:
    """The captures of the wire and of the host."""
    with ExitStack() as stack:
        captures = []
        for where in (WIRE, HOST):
            promiscuous = [
                operation.name
                for operation in plan.operations
                if isinstance(operation, AddBridge) and operation.where == where
            ]
            if where == WIRE and (functions_of(plan) or _asks_the_wire(plan)):
                # Its own filter would drop what guests say to each other and to groups.
                promiscuous.append(plan.facts.tester)
            with host.inside(where):
                captures.append(stack.enter_context(open_capture(where, promiscuous)))
        yield captures[0], captures[1]


def _asks_the_wire(plan: Plan) -> bool:
    return any(question.target.where == WIRE for question in plan.questions)


def _send(
    host: Host, wire: PacketCapture, senders: Mapping[str, socket.socket], lane: Lane
) -> Sent:
    """All traffic of one lane: towards the guest, then from it."""
    with host.inside(WIRE), servers(lane.ends.tester):
        with ThreadPoolExecutor(1) as beside:  # scapy needs a CPU while the guest needs another
            built = beside.submit(frames_in, lane)
            inside.listen(lane)
        if lane.stray:
            senders[""].send(build(lane.ends, lane.stray))
        patience = send_in(senders[lane.probe.device], wire, lane, built.result())
        stream = stream_in(lane, patience)
        answers = inside.send(lane, patience)
        frames, capture = inside.stop(lane)
    return Sent(lane, frames, capture, answers, stream)


def _counted(host: Host, lane: Lane) -> Counted:
    """One set of windows for all that is counted."""
    qemu = look(lane.guest)
    with host.inside(WIRE):
        sock, sink = open_icmp(lane.ends), open_sink(lane.ends)
    with sock, sink:
        costing = observe_costs(lane, qemu, sock, sink)
        if lane.probe.costs is not CostLevel.BRIEF and not costing.missing:
            with host.inside(WIRE):
                observe_rates(costing, lane, sock)
    return Counted(
        carrier_evidence(lane.probe, qemu, lane.guest.qmp, costing),
        exits_evidence(lane.probe, costing),
        costing.evidence(lane.probe),
    )


def _on_path(plan: Plan, lane: Lane, frames: list[Frame]) -> Iterator[Frame]:
    """Those of the host that count as nearest to the guest: at its hops, where they are said.

    All ports hang on one hub: a bridge beside the way sees a frame too, perhaps after the guest.
    """
    hops = _expected(plan, lane).hops
    devices = None if hops is None else {hop.device for hop in hops if hop.where == HOST}
    return (frame for frame in frames if devices is None or frame.device in devices)


def _queues(
    host: Host, senders: Mapping[str, socket.socket], lanes: tuple[Lane, ...]
) -> Iterator[QueuesEvidence]:
    for lane in lanes:
        if lane.probe.flows:
            with host.inside(WIRE), servers(lane.ends.tester):
                yield observe_queues(lane, senders[lane.probe.device])


def _rings(plan: Plan, lanes: tuple[Lane, ...]) -> Iterator[RingEvidence]:
    for lane in lanes:
        expected = _expected(plan, lane)
        if expected.packed is not None or expected.rx_ring is not None:
            yield observe_rings(lane)


def _expected(plan: Plan, lane: Lane) -> Expectation:
    nothing = Expectation(guest=lane.probe.guest, nic=lane.probe.nic)
    key = nothing.guest, nothing.nic
    return next((each for each in plan.expectations if (each.guest, each.nic) == key), nothing)


def _view(sent: Sent, outside: tuple[Frame, ...]) -> View:
    lane = sent.lane
    offset = clock(lane.probe.guest, lane.ends, lane.packets, (*outside, *sent.frames))
    return View(sent, offset, on_host_clock(sent.frames, offset))


def _on_host_clock(heard: questions.Heard, views: Iterable[View]) -> tuple[Frame, ...]:
    clocks = {view.sent.lane.probe.guest: view.clock for view in views}
    return on_host_clock(heard.frames, clocks.get(heard.guest))


def _exchanges(view: View, wire: list[Frame]) -> tuple[Exchange, ...]:
    sent = view.sent
    return exchanges(sent.lane, (*wire, *view.frames), sent.answers, sent.stream)


def _probes(lane: Lane, frames: tuple[Frame, ...]) -> Iterator[MarkedProbe]:
    for packet in lane.packets:
        if packet.kind == "hop":
            yield marked_probe(lane.probe, packet, frames)


def _no_clock(view: View) -> str:
    probe = view.sent.lane.probe
    return f"the clock of {probe.guest}: no echo came back through {probe.nic}"


def _names(lanes: tuple[Lane, ...]) -> dict[int, str]:
    return {
        packet.number: f"{lane.probe.guest} {lane.probe.nic} {packet.name}"
        for lane in lanes
        for packet in (*lane.packets, *((lane.stray,) if lane.stray else ()))
    }


def save(file: Path, data: bytes, emit: Emit) -> None:
    """Write a file and hand it over."""
    file.write_bytes(data)
    emit(Artifact(name=file.name), data)
