"""The threads that have to do with a guest, each with the part that it plays."""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence.life import TracedThread
from lab.probe.lane import Guest
from lab.probe.qemu import look


def threads_of(guest: Guest) -> tuple[TracedThread, ...]:
    """QEMU's threads as they are now, and those that vhost made for it."""
    return tuple(_threads(guest))


def _threads(guest: Guest) -> Iterator[TracedThread]:
    qemu = look(guest)
    for tid, name in qemu.threads.items():
        yield TracedThread(tid=tid, name=name, role="vcpu" if tid in qemu.vcpus else "qemu")
    for tid, name in qemu.vhosts.items():
        yield TracedThread(tid=tid, name=name, role="vhost")
