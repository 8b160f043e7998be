"""Threads in order while packets are counted, and as they were afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from lab.errors import CannotError
from lab.probe.order import in_order
from lab.probe.qemu import Qemu


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process.pid


def qemu(*threads: int, vcpus: tuple[int, ...] = ()) -> Qemu:
    return Qemu(
        pid=0,
        files={},
        threads=dict.fromkeys(threads, "qemu"),
        vcpus=frozenset(vcpus),
        vhosts={},
        interrupts={},
    )


def state(tid: int) -> tuple[set[int], int, int]:
    policy, parameters = os.sched_getscheduler(tid), os.sched_getparam(tid)
    return os.sched_getaffinity(tid), policy, parameters.sched_priority


@pytest.mark.skipif(os.geteuid() != 0, reason="priorities are root's to give")
@pytest.mark.parametrize("last", [True, False])
def test_all_are_on_one_cpu_in_order_and_put_back(child: int, last: bool) -> None:
    before = state(child), state(0)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        with in_order(qemu(child, other.pid, vcpus=(child,)), tester_last=last):
            vcpu, carrier, tester = state(child), state(other.pid), state(0)
        other.communicate()
    assert vcpu[0] == carrier[0] == tester[0]
    assert len(tester[0]) == 1
    assert 0 < vcpu[2] < carrier[2]
    assert (tester[2] == 0) is last
    assert last or tester[2] > carrier[2]
    assert (state(child), state(0)) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="priorities are root's to give")
def test_a_thread_that_has_ended_is_no_matter(child: int) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    with in_order(qemu(gone.pid, child), tester_last=True):
        assert state(child)[2] > 0


def test_where_it_is_not_allowed_nothing_stays_changed(
    child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = os.sched_setscheduler

    def refuse(tid: int, policy: int, parameters: os.sched_param) -> None:
        if policy != os.SCHED_OTHER:
            raise PermissionError(1, "Operation not permitted")
        given(tid, policy, parameters)

    before = state(child)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(CannotError, match="not permitted"), in_order(qemu(child), tester_last=True):
        pass
    assert state(child) == before
