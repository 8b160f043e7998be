"""Which of the kernel's events are recorded while a packet is on its way.

Events of frames are chosen by length, those of scheduling and of KVM by the guest's threads;
whatever happens in interrupts may happen to any thread and is recorded for all. Events of a module
that is not loaded are left out: then there is nothing that could happen. Fields as in
include/trace/events/ (net.h, skb.h, sched.h, irq.h, kvm.h) and arch/x86/kvm/trace.h of Linux 6.12.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lab.evidence.life import TracedThread
from lab.probe.trace import Tracing

_FRAME = (
    "net/net_dev_queue",
    "net/net_dev_start_xmit",
    "net/net_dev_xmit",
    "net/netif_receive_skb",
    "skb/skb_copy_datagram_iovec",
)
# Without the Ethernet header once a device has received it; four bytes more with a VLAN tag.
_OTHER_LENGTHS = (0, -14, 4, -10)
_IPV4, _VLAN = 0x0800, 0x8100
_VCPU = (
    "kvm/kvm_entry",
    "kvm/kvm_exit",
    "kvm/kvm_userspace_exit",
    "kvm/kvm_fast_mmio",
    "kvm/kvm_mmio",
    "kvm/kvm_pio",
    "kvm/kvm_inj_virq",
)
_ANYWHERE = (
    "skb/consume_skb",
    "kvm/kvm_set_irq",
    "kvm/kvm_msi_set_irq",
    "irq/irq_handler_entry",
    "napi/napi_poll",
)
_NET_SOFTIRQS = "vec == 2 || vec == 3"  # NET_TX and NET_RX, include/linux/interrupt.h


def watch(tracing: Tracing, threads: Iterable[TracedThread], size: int) -> None:
    """Record what concerns a frame of ``size`` bytes and a guest's threads. Raises CannotError."""
    for event, condition in _selection(tuple(threads), size):
        if tracing.knows(event) or not event.startswith("kvm/"):
            tracing.select(event, condition)


def _selection(threads: Sequence[TracedThread], size: int) -> Iterator[tuple[str, str]]:
    length = " || ".join(f"len == {size + more}" for more in _OTHER_LENGTHS)
    yield from ((event, length) for event in _FRAME)
    yield "skb/kfree_skb", f"protocol == {_IPV4} || protocol == {_VLAN}"
    tids = [thread.tid for thread in threads]
    vcpus = [thread.tid for thread in threads if thread.role == "vcpu"]
    yield "sched/sched_waking", _any("pid", tids)
    yield "sched/sched_switch", f"{_any('prev_pid', tids)} || {_any('next_pid', tids)}"
    yield from ((event, _any("common_pid", vcpus)) for event in _VCPU)
    yield from ((event, _NET_SOFTIRQS) for event in ("irq/softirq_entry", "irq/softirq_exit"))
    yield from ((event, "") for event in _ANYWHERE)


def _any(field: str, values: Iterable[int]) -> str:
    return " || ".join(f"{field} == {value}" for value in values)
