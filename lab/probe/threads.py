"""The threads that have to do with a guest, each with the part that it plays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from lab.evidence import TracedThread
from lab.probe.carrier import task_name, tasks, vhost_threads
from lab.probe.lane import Guest


def threads_of(guest: Guest) -> tuple[TracedThread, ...]:
    """QEMU's threads as they are now, and its vhost threads where those are the kernel's own."""
    return tuple(_threads(guest))


def _threads(guest: Guest) -> Iterator[TracedThread]:
    vcpus = {cpu["thread-id"] for cpu in guest.qmp.execute("query-cpus-fast")}
    vhosts = dict(vhost_threads(guest.pid))
    for tid in (*tasks(guest.pid), *vhosts.keys() - set(tasks(guest.pid))):
        role: Literal["vcpu", "vhost", "qemu"] = "qemu"
        if tid in vhosts:
            role = "vhost"
        elif tid in vcpus:
            role = "vcpu"
        yield TracedThread(tid=tid, name=task_name(tid), role=role)
