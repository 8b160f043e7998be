"""Who moves the packets: counted by the kernel's tracing over a window of plain round trips.

Two things are counted. QEMU's reads and writes on the very file descriptors of its taps: with vhost
there are none, without it there is at least one a packet. This is exact without an idle window to
subtract, which counting every system call needs: an idle QEMU reads event and signal descriptors
all the time, but a tap only when a packet is there. And the wake-ups of QEMU's vhost threads; vhost
has no tracepoints of its own. And the interrupts of devices that QEMU has by VFIO, which the host's
kernel takes and hands on to the guest.
"""

from __future__ import annotations

import itertools
import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lab.errors import CannotError
from lab.evidence import CarrierEvidence, Thread
from lab.plan.data import ProbePlan
from lab.probe.frames import Ends, echo_request
from lab.probe.lane import Guest, Monitor
from lab.probe.trace import Tracing, open_tracing
from lab.qmp import RefusedError

# A macvtap's node may be our own, where /dev has none (`lab.host.fds`).
_TAP = re.compile(r"/dev/(net/tun|tap\d+)\b|.*/macvtap\d+\.node$")
# One for each device, by group (the group's own file is not counted) or by character device.
_VFIO = re.compile(r"anon_inode:\[vfio-device\]|/dev/vfio/devices/")
# vfio-msix[0](0000:01:10.0), vfio-msi[0](...), vfio-intx(...): drivers/vfio/pci/vfio_pci_intrs.c.
_VFIO_INTERRUPT = re.compile(r"vfio-\w+(?:\[\d+\])?\(([0-9a-f:.]+)\)")
_INTERRUPTS = Path("/proc/interrupts")
_VHOST = re.compile(r"/dev/vhost-net\b")
# All that can move packets on a tap's file descriptor; QEMU uses read and writev (net/tap.c).
_SYSCALLS = ("read", "readv", "write", "writev")
_WAKEUP = "sched/sched_wakeup"
_REPLY_SECONDS = 3.0
_IDENTIFIER = 0x6C62
_SOL_RAW = 255
_ICMP_FILTER = 1
_ECHO_REPLY = 0
_PAYLOAD = b"carrier window...."  # fills the smallest Ethernet frame


def observe_carrier(probe: ProbePlan, guest: Guest, sock: socket.socket) -> CarrierEvidence:
    """Count over ``probe.window`` ICMP round trips on ``sock`` (see `open_icmp`).

    Nobody may use the guest agent or QMP meanwhile. What cannot be counted is named in ``missing``.
    """
    links = tuple(_links(guest.pid))
    threads = dict(vhost_threads(guest.pid))
    missing: list[str] = []
    calls: Mapping[str, int] = {}
    wakeups: Mapping[int, int] = {}
    done = 0
    interrupts: Counter[str] = Counter()
    try:
        with open_tracing() as tracing:
            _select(tracing, guest.pid, [fd for fd, link in links if _TAP.match(link)], threads)
            before = vfio_interrupts(_INTERRUPTS.read_text())
            tracing.start()
            done = round_trips(sock, probe.window)
            tracing.stop()
            interrupts = vfio_interrupts(_INTERRUPTS.read_text()) - before
            calls, wakeups = tracing.counts()
    except CannotError as error:
        missing.append(error.message)
    if done < probe.window and not missing:
        missing.append(f"echo {done + 1} of {probe.window} was not answered")
    return CarrierEvidence(
        guest=probe.guest,
        nic=probe.nic,
        round_trips=done,
        qemu_syscalls=dict(calls),
        vhost_threads=tuple(
            Thread(tid=tid, name=name, wakeups=wakeups.get(tid, 0)) for tid, name in threads.items()
        ),
        vhost_fds=_count(links, _VHOST),
        tap_fds=_count(links, _TAP),
        vfio_fds=_count(links, _VFIO),
        vfio_interrupts=dict(interrupts),
        vhost_in_qmp=_vhost_in_qmp(guest.qmp, probe.nic, missing),
        missing=tuple(missing),
    )


def open_icmp(ends: Ends) -> socket.socket:
    """A raw ICMP socket in the calling thread's namespace that gets the guest's echo replies."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    # The bits are the types that are not wanted (raw(7)).
    unwanted = 0xFFFFFFFF & ~(1 << _ECHO_REPLY)
    sock.setsockopt(_SOL_RAW, _ICMP_FILTER, unwanted.to_bytes(4, "little"))
    sock.bind((str(ends.tester), 0))
    sock.connect((str(ends.guest), 0))
    return sock


def round_trips(sock: socket.socket, number: int) -> int:
    """Send echo requests, each after the answer to the one before; how many were answered."""
    requests = [echo_request(_IDENTIFIER, sequence, _PAYLOAD) for sequence in range(number)]
    sock.settimeout(_REPLY_SECONDS)
    for done, request in enumerate(requests):
        wanted = request[4:]
        sock.send(request)
        try:
            while sock.recv(2048)[24:] != wanted:
                pass  # a reply to somebody else
        except TimeoutError:
            return done
    return number


def vfio_interrupts(table: str) -> Counter[str]:
    """Interrupts that VFIO handed on so far, by PCI address, from proc_interrupts(5)."""
    counts: Counter[str] = Counter()
    for line in table.splitlines():
        if found := _VFIO_INTERRUPT.search(line):
            numbers = itertools.takewhile(str.isdigit, line.split()[1:])
            counts[found[1]] += sum(map(int, numbers))
    return counts


def _select(tracing: Tracing, pid: int, taps: Iterable[int], vhosts: Iterable[int]) -> None:
    """Record QEMU's calls on its taps and what wakes its vhost threads."""
    fds = " || ".join(f"fd == {fd}" for fd in taps)
    tids = " || ".join(f"common_pid == {tid}" for tid in tasks(pid))
    if fds:
        for name in _SYSCALLS:
            tracing.select(f"syscalls/sys_enter_{name}", f"({fds}) && ({tids})")
    if woken := " || ".join(f"pid == {tid}" for tid in vhosts):
        tracing.select(_WAKEUP, woken)


def _links(pid: int) -> Iterator[tuple[int, str]]:
    """A process's open file descriptors and what they are (proc_pid_fd(5))."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield int(path.name), str(path.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile


def _count(links: Iterable[tuple[int, str]], pattern: re.Pattern[str]) -> int:
    return sum(pattern.match(link) is not None for _fd, link in links)


def vhost_threads(pid: int) -> Iterator[tuple[int, str]]:
    """The threads that vhost made for a QEMU, all called ``vhost-PID``.

    Since Linux 6.4 they are threads of QEMU itself (kernel/vhost_task.c), before (and from 6.17 on
    where asked for) kernel threads.
    """
    name = f"vhost-{pid}"
    own = [tid for tid in tasks(pid) if task_name(tid) == name]
    for tid in own or [int(path.name) for path in Path("/proc").glob("[0-9]*")]:
        if own or task_name(tid) == name:
            yield tid, name


def tasks(pid: int) -> list[int]:
    """The ids of a process's threads."""
    return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]


def task_name(tid: int) -> str:
    """A thread's name (comm); empty where it has ended."""
    try:
        return Path(f"/proc/{tid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _vhost_in_qmp(qmp: Monitor, nic: str, missing: list[str]) -> bool | None:
    """Whether QEMU says that vhost has started for a NIC; None where it is not virtio."""
    try:
        for device in qmp.execute("x-query-virtio"):
            if f"/{nic}/" in device["path"]:
                status = qmp.execute("x-query-virtio-status", {"path": device["path"]})
                return bool(status["vhost-started"])
    except RefusedError as error:
        missing.append(error.message)
    return None
