"""Who goes first: while packets are counted all of it runs on one CPU, in a fixed order.

Whether vhost still was awake when the next packet came, or the guest, is a race between CPUs, and
wake-ups, switches and interrupts are counts of who won it: on a busy machine others than on a quiet
one. On one CPU with fixed priorities nobody races. QEMU's threads and vhost go before the guest's
CPUs, so they are asleep when the guest goes on; the tester comes last, so everybody is asleep when
it sends, or first, so nobody has come to rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from lab.errors import CannotError
from lab.probe.qemu import Qemu

# Round robin among equals: a virtual CPU that waits for another one must not keep it from running.
_POLICY = os.SCHED_RR
_FIRST, _CARRIER, _VCPU = 30, 20, 10
_SELF = 0


@contextmanager
def in_order(qemu: Qemu, *, tester_last: bool) -> Iterator[None]:
    """The calling thread is the tester. Raises CannotError where priorities are not ours to give.

    Everything is put back at the end.
    """
    ranks = {tid: _VCPU if tid in qemu.vcpus else _CARRIER for tid in (*qemu.threads, *qemu.vhosts)}
    cpu = max(os.sched_getaffinity(_SELF))
    with ExitStack() as undo:
        try:
            # The tester is the last: from then on it may have to wait.
            for tid, rank in (ranks | {_SELF: 0 if tester_last else _FIRST}).items():
                _put(undo, tid, cpu, rank)
        except PermissionError as error:
            raise CannotError(
                f"threads cannot be put in order: {error.strerror}", hint="run as root"
            ) from error
        yield


def _put(undo: ExitStack, tid: int, cpu: int, rank: int) -> None:
    with suppress(ProcessLookupError):  # it has ended
        before = os.sched_getaffinity(tid), os.sched_getscheduler(tid), os.sched_getparam(tid)
        os.sched_setaffinity(tid, {cpu})
        undo.callback(_put_back, tid, *before)
        if rank:
            os.sched_setscheduler(tid, _POLICY, os.sched_param(rank))


def _put_back(tid: int, cpus: set[int], policy: int, parameters: os.sched_param) -> None:
    with suppress(ProcessLookupError):
        os.sched_setscheduler(tid, policy, parameters)
        os.sched_setaffinity(tid, cpus)
