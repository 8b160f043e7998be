"""One QEMU as the kernel shows it: its threads, its open files, its interrupts (proc(5)).

And what it says itself of one of its NICs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import CannotError
from lab.plan.data import GuestPlan
from lab.probe.lane import Guest, Monitor

TAP = "tap"
VHOST_NET = "vhost-net"
VFIO = "vfio"

_WORDS = (
    # A macvtap's node may be our own, where /dev has none (`lab.host.fds`).
    (re.compile(r"/dev/(net/tun|tap\d+)\b|.*/macvtap\d+\.node$"), TAP),
    (re.compile(r"/dev/vhost-net\b"), VHOST_NET),
    # One for each device, by group (the group's own file is not counted) or by character device.
    (re.compile(r"anon_inode:\[vfio-device\]|/dev/vfio/devices/"), VFIO),
    (re.compile(r"socket:"), "socket"),
    (re.compile(r"anon_inode:\[?kvm"), "kvm"),
    (re.compile(r"anon_inode:\[(eventfd|signalfd|timerfd)\]"), ""),
)
_GIVEN = re.compile(r"vfio-pci,(?:.*,)?host=([^,]+)")
# vfio-msix[0](0000:01:10.0), vfio-msi[0](...), vfio-intx(...): drivers/vfio/pci/vfio_pci_intrs.c.
_VFIO_INTERRUPT = re.compile(r"^ *(\d+):.* vfio-\w+(?:\[\d+\])?\(([0-9a-f:.]+)\)", re.MULTILINE)


@dataclass(frozen=True)
class Qemu:
    """What is known of a QEMU while packets cross.

    ``files`` are words for its open files by descriptor, ``threads`` the names of its own by thread
    id and ``vhosts`` those that vhost made for it. ``vcpus`` are some of the first. ``interrupts``
    are the numbers of those that VFIO hands on to it, with the PCI address that they come from.
    """

    pid: int
    files: Mapping[int, str]
    threads: Mapping[int, str]
    vcpus: frozenset[int]
    vhosts: Mapping[int, str]
    interrupts: Mapping[int, str]

    def held(self, word: str) -> int:
        """How many files of a kind are open."""
        return sum(each == word for each in self.files.values())


def look(guest: Guest) -> Qemu:
    """A guest's QEMU as it is now."""
    vhosts = dict(vhost_threads(guest.pid))
    own = [tid for tid in _tasks(guest.pid) if tid not in vhosts]
    return Qemu(
        pid=guest.pid,
        files={fd: _word(link) for fd, link in _links(guest.pid)},
        threads={tid: _name(tid) for tid in own},
        vcpus=frozenset(cpu["thread-id"] for cpu in guest.qmp.execute("query-cpus-fast")),
        vhosts=vhosts,
        interrupts=vfio_interrupts(
            Path("/proc/interrupts").read_text(), functions_given(guest.plan)
        ),
    )


def vhost_threads(pid: int) -> Iterator[tuple[int, str]]:
    """The threads that vhost made for a QEMU, all called ``vhost-PID``.

    Since Linux 6.4 they are threads of QEMU itself (kernel/vhost_task.c), before (and from 6.17 on
    where asked for) kernel threads.
    """
    name = f"vhost-{pid}"
    own = [tid for tid in _tasks(pid) if _name(tid) == name]
    for tid in own or [int(path.name) for path in Path("/proc").glob("[0-9]*")]:
        if own or _name(tid) == name:
            yield tid, name


def functions_given(plan: GuestPlan) -> frozenset[str]:
    """The PCI addresses of what a guest has by VFIO, from its start or plugged in later."""
    steps = (step.arguments for nic in plan.nics for step in nic.hotplug)
    later = (str(each.get("host")) for each in steps if each.get("driver") == "vfio-pci")
    return frozenset((*later, *(found[1] for found in map(_GIVEN.match, plan.argv) if found)))


def vfio_interrupts(table: str, functions: Collection[str]) -> dict[int, str]:
    """The PCI address behind each interrupt of VFIO, from proc_interrupts(5).

    Only those of ``functions``: the table is the whole machine's, with other guests' in it.
    """
    found = ((int(number), pci) for number, pci in _VFIO_INTERRUPT.findall(table))
    return {number: pci for number, pci in found if pci in functions}


def virtio_status(qmp: Monitor, nic: str) -> Any:
    """What QEMU says of a virtio NIC (x-query-virtio-status), None where the NIC is not virtio.

    By its path in QEMU's tree of objects: a NIC may have the name of any other part of a path.
    """
    below = f"/machine/peripheral/{nic}/"
    for device in qmp.execute("x-query-virtio"):
        if device["path"].startswith(below):
            return qmp.execute("x-query-virtio-status", {"path": device["path"]})
    return None


def cpu_ns(tids: Iterable[int]) -> int:
    """How long threads have run so far. Raises CannotError where the kernel does not tell.

    Each is behind by what it has run since the last tick, if it runs right now.
    """
    try:
        return sum(int(Path(f"/proc/{tid}/schedstat").read_text().split()[0]) for tid in tids)
    except OSError as error:
        raise CannotError(
            f"the kernel does not tell how long threads ran: {error}",
            hint="it needs CONFIG_SCHED_INFO",
        ) from error


def _links(pid: int) -> Iterator[tuple[int, str]]:
    """A process's open file descriptors and what they are (proc_pid_fd(5))."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield int(path.name), str(path.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile


def _word(link: str) -> str:
    for pattern, word in _WORDS:
        if found := pattern.match(link):
            return word or found[1]
    return link.rpartition("/")[2]


def _tasks(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]


def _name(tid: int) -> str:
    try:
        return Path(f"/proc/{tid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # ended meanwhile
