"""PCI functions that guests have: how they stand on the host, and that the host sees nothing.

That a device saw nothing means something only if it would have been seen: a control frame on the
host's loopback device has to be in the same capture.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lab.errors import StartError
from lab.evidence.host import MacAttempt, VfState
from lab.evidence.packets import Unseen
from lab.pci import PciFunction, read_functions
from lab.plan.data import FunctionPlan, Plan, ProbePlan
from lab.plan.operations import SetVf
from lab.plan.where import HOST, WIRE
from lab.probe.capture import Frame
from lab.probe.lane import Lane
from lab.probe.mark import MAGIC, MARK_OFFSET, Packet

_LOOPBACK = "lo"
# netdevice(7)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_IFREQ = struct.Struct("=16sh22x")
_CONTROL = 0
_LOCAL_EXPERIMENT = b"\x88\xb5"  # IEEE 802, so that nobody takes it for something
_OTHER_MAC = "52:54:00:0d:d0:0d"

# Without `down` first: the driver allows it, and the addresses stay.
_TRY_MAC = """
dev={device}
ip link set dev $dev address {wanted} 2>&1
status=$?
read -r mac < /sys/class/net/$dev/address
echo "$status $mac"
"""
_RESTORE_MAC = "ip link set dev {device} address {mac}"


class Host(Protocol):
    """What is needed of the host (`lab.host.host.Host` is one)."""

    def inside(self, where: str) -> AbstractContextManager[None]: ...
    def vfs(self, where: str, device: str) -> tuple[VfState, ...]: ...


@dataclass(frozen=True)
class Functions:
    """The PCI side of a run; see `lab.evidence.whole.Evidence` for each."""

    seen: tuple[PciFunction, ...] = ()
    vfs: tuple[VfState, ...] = ()
    mac_attempts: tuple[MacAttempt, ...] = ()


def functions_of(plan: Plan) -> dict[tuple[str, str], FunctionPlan]:
    """The PCI functions that guests are to have, by guest and NIC."""
    return {(each.guest, each.nic): each.function for each in plan.expectations if each.function}


def observe_functions(plan: Plan, host: Host, lanes: Iterable[Lane]) -> Functions:
    """Look at the functions while the guests have them; the attempts come last. Raises StartError.

    Nothing is looked at where no guest is to have a function.
    """
    planned = functions_of(plan)
    if not planned:
        return Functions()
    ports = dict.fromkeys(each.vf.device for each in planned.values() if each.vf)
    return Functions(
        seen=read_functions(),
        vfs=tuple(vf for port in ports for vf in host.vfs(HOST, port)),
        mac_attempts=tuple(_attempts(planned, host, lanes)),
    )


def send_control(host: Host) -> None:
    """Send a marked frame, numbered 0, where only the host's own capture sees it.

    The loopback device of a new namespace is down, and stays up here as long as the namespace does.
    """
    with host.inside(HOST):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with sock:
        _, flags = _IFREQ.unpack(
            fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ.pack(_LOOPBACK.encode(), 0))
        )
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ.pack(_LOOPBACK.encode(), flags | _IFF_UP))
        sock.bind((_LOOPBACK, 0))
        head = bytes(12) + _LOCAL_EXPERIMENT
        sock.send(head + bytes(MARK_OFFSET - len(head)) + MAGIC + _CONTROL.to_bytes(2))


def unseen(probe: ProbePlan, packets: Iterable[Packet], frames: Iterable[Frame]) -> Unseen:
    """Where outside the guest a NIC's marked packets were seen."""
    numbers = {packet.number for packet in packets}
    frames = tuple(frames)
    ours = [frame for frame in frames if frame.number in numbers]
    host = [frame for frame in ours if frame.where == HOST]
    return Unseen(
        guest=probe.guest,
        nic=probe.nic,
        wire=len({frame.number for frame in ours if frame.where == WIRE}),
        host=tuple(sorted({frame.device for frame in host})),
        senders=tuple(sorted({frame.device for frame in host if frame.outgoing})),
        control=any(
            (frame.where, frame.device, frame.number) == (HOST, _LOOPBACK, _CONTROL)
            for frame in frames
        ),
    )


def _attempts(
    planned: dict[tuple[str, str], FunctionPlan], host: Host, lanes: Iterable[Lane]
) -> Iterator[MacAttempt]:
    for lane in lanes:
        function = planned.get((lane.probe.guest, lane.probe.nic))
        if function and function.vf:
            yield _attempt(lane, function.vf, host)


def _attempt(lane: Lane, vf: SetVf, host: Host) -> MacAttempt:
    """Let the guest try, ask the port, and give the guest its own address back."""
    device = lane.nic.device
    said = lane.guest.run(_TRY_MAC.format(device=device, wanted=_OTHER_MAC))
    port = next((each for each in host.vfs(HOST, vf.device) if each.index == vf.index), None)
    lane.guest.run(_RESTORE_MAC.format(device=device, mac=lane.nic.mac))
    *words, last = said.raw.decode(errors="replace").splitlines() or [""]
    status, _, mac = last.partition(" ")
    if not mac:
        name = lane.probe.guest
        raise StartError(f"guest {name} could not try another MAC address", output=said.err)
    return MacAttempt(
        guest=lane.probe.guest,
        nic=lane.probe.nic,
        wanted=_OTHER_MAC,
        status=int(status),
        said=" ".join(" ".join(words).split()),
        guest_mac=mac,
        port_mac=port.mac if port else "",
    )
