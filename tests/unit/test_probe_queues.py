"""What is read from a guest's counters."""

from __future__ import annotations

import struct
from collections import Counter

from lab.evidence.carrier import QueueCount
from lab.probe import qstats
from lab.probe.queues import Counters, differences, interrupts_in, packets_in
from lab.probe.rings import rx_ring_in

INTERRUPTS = """\
           CPU0       CPU1
  0:        116          0   IO-APIC   2-edge      timer
 26:         38          0  PCI-MSIX-0000:00:01.0   1-edge      virtio0-virtqueues
 27:          0          0  PCI-MSIX-0000:01:00.0   0-edge      virtio1-config
 28:         15          0  PCI-MSIX-0000:01:00.0   1-edge      virtio1-input.0
 29:         14          1  PCI-MSIX-0000:01:00.0   2-edge      virtio1-output.0
 30:          1         17  PCI-MSIX-0000:01:00.0   3-edge      virtio1-input.1
 31:          0         21  PCI-MSIX-0000:02:00.0   4-edge      virtio2-input.0
"""
IGB = """\
 40:          3          0  PCI-MSIX-0000:01:00.0   1-edge      eth0-TxRx-0
 41:          0          4  PCI-MSIX-0000:01:00.0   2-edge      eth0-TxRx-1
"""


def test_interrupts_by_queue_and_vcpu() -> None:
    assert interrupts_in(INTERRUPTS, "eth0", "virtio1") == {
        0: Counter({0: 29, 1: 1}),
        1: Counter({0: 1, 1: 17}),
    }
    assert interrupts_in(IGB, "eth0", "0000:01:00.0") == {
        0: Counter({0: 3, 1: 0}),
        1: Counter({0: 0, 1: 4}),
    }


def test_queues_that_share_a_line_have_none() -> None:
    assert interrupts_in(INTERRUPTS, "eth0", "virtio0") == {}


def test_packets_that_ethtool_tells() -> None:
    text = (
        "  rx_queue_0_packets: 12\n  tx_queue_1_packets: 3\n  rx0_packets: 5\n rx0_xdp_packets: 7\n"
    )
    assert packets_in(text) == ({0: 5}, {1: 3})


def test_the_differences_are_those_of_the_window() -> None:
    before = Counters({0: 5, 1: 1}, {0: 2, 1: 2}, {0: Counter({0: 4}), 1: Counter({0: 1})})
    after = Counters({0: 9, 1: 1}, {0: 2, 1: 6}, {0: Counter({0: 7}), 1: Counter({0: 1, 1: 2})})
    assert differences(before, after) == (
        QueueCount(index=0, rx_packets=4, tx_packets=0, interrupts={0: 3}),
        QueueCount(index=1, rx_packets=0, tx_packets=4, interrupts={1: 2}),
    )


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("<IHHII", 20 + len(body), kind, 2, 1, 7) + bytes((12, 1, 0, 0)) + body


def of_queue(kind: int, queue: int, counter: int, value: int) -> bytes:
    parts = ((1, 2), (2, kind), (3, queue))
    head = b"".join(attribute(key, number.to_bytes(4, "little")) for key, number in parts)
    return message(25, head + attribute(counter, value.to_bytes(8, "little")))


DONE = struct.pack("<IHHIIi", 20, 3, 2, 1, 7, 0)


def test_packets_that_netlink_tells() -> None:
    answer = of_queue(0, 0, 8, 17) + of_queue(0, 1, 8, 15) + of_queue(1, 0, 10, 16) + DONE
    assert qstats.packets_in(answer) == ({0: 17, 1: 15}, {0: 16})


def test_a_driver_that_counts_none_has_no_queue() -> None:
    assert qstats.packets_in(DONE) == ({}, {})
    assert qstats.packets_in(b"") == ({}, {})


def test_the_family_is_found_by_name() -> None:
    body = attribute(2, b"netdev\0") + attribute(1, (25).to_bytes(2, "little"))
    assert qstats.family_in(message(0x10, body)) == 25
    error = struct.pack("<IHHIIi", 36, 2, 0, 1, 7, -2) + bytes(16)
    assert qstats.family_in(error) is None


def test_requests_are_as_long_as_they_say() -> None:
    for request in (qstats.family_request(), qstats.packets_request(25, 2)):
        assert int.from_bytes(request[:4], "little") == len(request)
    assert b"netdev\0" in qstats.family_request()


def test_the_ring_in_use_is_not_the_longest_possible() -> None:
    text = (
        "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t1024\nTX:\t\t1024\n"
        "Current hardware settings:\nRX:\t\t256\nRX Mini:\tn/a\nTX:\t\t512\n"
    )
    assert rx_ring_in(text) == 256
    assert rx_ring_in("netlink error: Operation not supported") is None
