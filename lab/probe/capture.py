"""One packet socket per network namespace that sees every device in it (packet(7)).

The socket is bound to no device: the kernel then hands it a copy of each frame that any device of
its namespace receives (``__netif_receive_skb_core``) or is about to send (``dev_queue_xmit_nit``,
net/core/dev.c), with the device's index beside it. So a device that nobody named, a stranger in
the path, is seen as well. A filter in the kernel keeps what is not ours out of the queue, so that
the queue only has to be read when somebody waits for a frame, and at the end.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lab.evidence.packets import Capture
from lab.probe.mark import MAGIC, MARK_OFFSET, SOLICITATION_MARK_OFFSET, number_in

_ETH_P_ALL = 3
_ETH_P_8021Q = 0x8100
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_MR_PROMISC = 1
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_TP_STATUS_CSUMNOTREADY = 1 << 3
_TP_STATUS_VLAN_VALID = 1 << 4
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("=qq")
_SNAPLEN = 65536 + 18
_ANCILLARY = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(_TIMESPEC.size)
# The kernel charges a frame with about 2.3 KiB of it; a run's own frames are some hundreds.
_RECEIVE_BUFFER = 16 << 20


@dataclass(frozen=True)
class Frame:
    """A frame as one device had it. ``data`` is without VLAN tag: ``vlan`` is the VLAN's id.

    ``partial``: the sender left the checksum to the NIC, which has not filled it in yet.
    ``number`` is the one in its mark, None for ARP.
    """

    where: str
    device: str
    time_ns: int
    data: bytes
    outgoing: bool
    vlan: int | None = None
    partial: bool = False

    @property
    def number(self) -> int | None:
        return number_in(self.data)


class PacketCapture:
    """The frames of one namespace, in the order in which the kernel had them."""

    def __init__(self, where: str, sock: socket.socket) -> None:
        self.where = where
        self.frames: list[Frame] = []
        self._socket = sock

    def wait(self, match: Callable[[Frame], bool], deadline: float) -> Frame | None:
        """The first frame from now on that matches; None at ``deadline`` (time.monotonic())."""
        read = len(self.frames)
        while True:
            self.drain()
            for frame in self.frames[read:]:
                if match(frame):
                    return frame
            read = len(self.frames)
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return None

    def drain(self) -> None:
        """Read all that is in the queue."""
        while True:
            try:
                received = self._socket.recvmsg(_SNAPLEN, _ANCILLARY, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            self.frames.append(_frame(self.where, *received))

    def finish(self) -> Capture:
        """Read what is left; what came and what was lost since the capture was opened."""
        self.drain()
        # The first includes the second (packet_getsockopt, net/packet/af_packet.c).
        passed, drops = _statistics(self._socket)
        return Capture(where=self.where, packets=passed - drops, drops=drops)


@contextmanager
def open_capture(
    where: str,
    bridges: Iterable[str] = (),
    buffer: int = _RECEIVE_BUFFER,
    *,
    device: str = "",
    program: Sequence[Instruction] | None = None,
) -> Iterator[PacketCapture]:
    """Capture in the namespace that the calling thread is in; ``where`` is its name.

    ``device`` is the only one to look at, ``program`` another filter than `PROGRAM`.

    ``bridges`` are made promiscuous until the end. A bridge hands to its own device only what is
    addressed to the host itself, unless it is promiscuous: then also a copy of what it forwards
    (br_handle_frame_finish, net/bridge/br_input.c). That copy still has the stamp it got when the
    port received the frame, so port and bridge show one time and the order of arrival tells.
    """
    everything = socket.htons(_ETH_P_ALL)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, everything) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        _attach_filter(sock, PROGRAM if program is None else program)
        if device:
            sock.bind((device, _ETH_P_ALL))
        _forget(sock)
        for bridge in bridges:
            request = struct.pack(
                "=IHH8s", socket.if_nametoindex(bridge), _PACKET_MR_PROMISC, 0, b""
            )
            sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
        yield PacketCapture(where, sock)


def _forget(sock: socket.socket) -> None:
    """Drop what came before there was a filter (a socket that receives nothing until it is bound
    would do, but Python binds packet sockets to a device only), and start the counters again."""
    while True:
        try:
            sock.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
    _statistics(sock)


def _statistics(sock: socket.socket) -> tuple[int, int]:
    """Frames that passed the filter and frames lost, since the last call (packet(7))."""
    raw = sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    passed, lost = struct.unpack("=II", raw)
    return passed, lost


def _frame(
    where: str,
    data: bytes,
    ancillary: list[tuple[int, int, bytes]],
    _flags: int,
    address: tuple[str, int, int, int, bytes],
) -> Frame:
    time_ns, vlan, partial = 0, None, False
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            time_ns = seconds * 1_000_000_000 + nanoseconds
        elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, _, _, _, _, tci, _ = _AUXDATA.unpack(value)
            partial = bool(status & _TP_STATUS_CSUMNOTREADY)
            # The kernel takes the tag of a received frame out of the data.
            vlan = tci & 0xFFF if status & _TP_STATUS_VLAN_VALID else None
    data, inline = untagged(data)
    return Frame(
        where=where,
        device=address[0],
        time_ns=time_ns,
        data=data,
        outgoing=address[2] == socket.PACKET_OUTGOING,
        vlan=inline if vlan is None else vlan,
        partial=partial,
    )


def untagged(data: bytes) -> tuple[bytes, int | None]:
    """A frame without its 802.1Q tag, and the VLAN's id if it had one."""
    if data[12:14] != _ETH_P_8021Q.to_bytes(2):
        return data, None
    return data[:12] + data[16:], int.from_bytes(data[14:16]) & 0xFFF


def tagged(data: bytes, vlan: int | None) -> bytes:
    """The frame as it is on the cable: with its 802.1Q tag if it has a VLAN."""
    if vlan is None:
        return data
    return data[:12] + struct.pack("!HH", _ETH_P_8021Q, vlan) + data[12:]


# A frame that goes out has its VLAN tag inside, four bytes.
_MARKS_AT = tuple(at + tag for at in (MARK_OFFSET, SOLICITATION_MARK_OFFSET) for tag in (0, 4))

FILTER_EXPRESSION = " or ".join(
    (
        "arp",
        *(
            f"(ether[{at}:4] = 0x{MAGIC[:4].hex()} and ether[{at + 4}:2] = 0x{MAGIC[4:].hex()})"
            for at in _MARKS_AT
        ),
    )
)
"""What is kept, in the language of pcap-filter(7): ARP and marked frames, with and without tag."""


Instruction = tuple[int, int, int, int]
_LOAD_HALF, _LOAD_WORD, _EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06
_HEAD, _TAIL = int.from_bytes(MAGIC[:4]), int.from_bytes(MAGIC[4:])


def _program() -> Iterator[tuple[int, int, int, int]]:
    """Four instructions a mark; a match jumps over those of the other marks and over the drop."""
    left = 4 * len(_MARKS_AT)
    yield _LOAD_HALF, 0, 0, 12
    yield _EQUAL, left + 1, 0, 0x0806
    for at in _MARKS_AT:
        left -= 4
        yield _LOAD_WORD, 0, 0, at
        yield _EQUAL, 0, 2, _HEAD
        yield _LOAD_HALF, 0, 0, at + 4
        yield _EQUAL, left + 1, 0, _TAIL
    yield _RETURN, 0, 0, 0
    yield _RETURN, 0, 0, 0xFFFFFFFF


PROGRAM = tuple(_program())
"""`FILTER_EXPRESSION` as classic BPF (Documentation/networking/filter.rst): code, jt, jf, k.

Written by hand because the host need not have tcpdump. A load behind the end of a frame ends the
program with 0, that is, drops the frame; so the offsets are tried from front to back.
"""


_KEEP = next(at for at, (code, _, _, k) in enumerate(PROGRAM) if code == _RETURN and k)
WITH_RARP = ((_LOAD_HALF, 0, 0, 12), (_EQUAL, _KEEP, 0, 0x8035), *PROGRAM)
"""As `PROGRAM`, and RARP (RFC 903), by which QEMU announces where a guest has come to."""


def _attach_filter(sock: socket.socket, program: Sequence[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
