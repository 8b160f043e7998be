"""What is recorded around a packet: files of tracefs, here in a folder of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.evidence.life import TracedThread
from lab.probe.trace import Tracing
from lab.probe.watchlist import watch

THREADS = (
    TracedThread(tid=10, name="qemu-system-x86", role="qemu"),
    TracedThread(tid=11, name="qemu-system-x86", role="vcpu"),
    TracedThread(tid=12, name="vhost-10", role="vhost"),
)
OTHERS = (
    *(f"net/{name}" for name in ("net_dev_queue", "net_dev_start_xmit", "net_dev_xmit")),
    *("net/netif_receive_skb", "napi/napi_poll", "sched/sched_waking", "sched/sched_switch"),
    *(f"skb/{name}" for name in ("kfree_skb", "consume_skb", "skb_copy_datagram_iovec")),
    *(f"irq/{name}" for name in ("irq_handler_entry", "softirq_entry", "softirq_exit")),
)
KVM = (
    *("kvm_entry", "kvm_exit", "kvm_userspace_exit", "kvm_fast_mmio", "kvm_mmio", "kvm_pio"),
    *("kvm_inj_virq", "kvm_set_irq", "kvm_msi_set_irq"),
)


def events(folder: Path, *names: str) -> Tracing:
    """A tracing instance that knows these events and no others."""
    for number, name in enumerate(names):
        event = folder / "events" / name
        event.mkdir(parents=True)
        pid = "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
        (event / "format").write_text(f"name: {event.name}\nID: {number}\nformat:\n{pid}")
    return Tracing(folder)


@pytest.fixture
def chosen(tmp_path: Path) -> dict[str, str]:
    """The filter of each event that is on; 0 lets everything pass."""
    tracing = events(tmp_path, *OTHERS, *(f"kvm/{name}" for name in KVM))
    watch(tracing, THREADS, 1514)
    return {
        file.parent.name: file.with_name("filter").read_text()
        for file in (tmp_path / "events").glob("*/*/enable")
    }


def test_frames_are_chosen_by_length_with_and_without_header_and_tag(
    chosen: dict[str, str],
) -> None:
    lengths = "len == 1514 || len == 1500 || len == 1518 || len == 1504"
    assert chosen["net_dev_queue"] == chosen["skb_copy_datagram_iovec"] == lengths


def test_threads_are_chosen_by_their_part(chosen: dict[str, str]) -> None:
    assert chosen["kvm_exit"] == "common_pid == 11"
    assert chosen["sched_waking"] == "pid == 10 || pid == 11 || pid == 12"
    assert "prev_pid == 12" in chosen["sched_switch"]
    assert "next_pid == 10" in chosen["sched_switch"]


def test_what_may_happen_in_any_thread_has_no_filter(chosen: dict[str, str]) -> None:
    assert {name for name, condition in chosen.items() if condition == "0"} == {
        *("consume_skb", "irq_handler_entry", "napi_poll", "kvm_set_irq", "kvm_msi_set_irq")
    }


def test_without_kvm_the_rest_is_recorded(tmp_path: Path) -> None:
    watch(events(tmp_path, *OTHERS), THREADS, 60)
    on = {file.parent.name for file in (tmp_path / "events").glob("*/*/enable")}
    assert on == {name.partition("/")[2] for name in OTHERS}
