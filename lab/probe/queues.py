"""Over which queues traffic spreads: packets and interrupts of each, and the vhost threads.

The flows differ in their source ports only. Towards the guest the tap picks a queue by the hash of
a flow; from the guest each vCPU sends its share by itself, for virtio_net picks the queue by vCPU
(XPS). Nobody answers them: they go to the subnet's broadcast address in frames for the guest alone
(no kernel answers a broadcast with "port unreachable"), and to a port that the tester holds open.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

from lab.errors import CannotError
from lab.evidence.carrier import QueueCount, QueuesEvidence, Thread
from lab.plan.data import Direction
from lab.probe import inside, qstats
from lab.probe.frames import build
from lab.probe.lane import PATIENCE, Guest, Lane
from lab.probe.mark import PROBE_PORT, Packet
from lab.probe.qemu import vhost_threads
from lab.probe.trace import open_tracing

_IN_PORT, _OUT_PORT = 41000, 42000
_PACKET = Packet(number=0, kind="hop", direction=Direction.IN, size=60)
_SOURCE_PORT_AT, _CHECKSUM_AT = 34, 40

# e1000e counts none by queue, igb and others tell ethtool: rx_queue_0_packets.
_COUNTER = re.compile(r"^\s*([rt]x)_?(?:queue_)?(\d+)_packets: (\d+)$", re.MULTILINE)
_LOOK = """
cd /sys/class/net/{device}
ethtool -S {device} | grep _packets:
virtio=$(readlink -f device)
read -r index <ifindex
echo "@ $index ${{virtio##*/}}"
cat /proc/interrupts
"""
_NETLINK = "printf '{message}' | socat -t 0.1 - SOCKET-SENDTO:16:3:16:x00000000000000000000"

# With seqpacket (type 5) each `printf` is one datagram; a raw socket takes the UDP header as it is.
_SEND = r"""
d=/tmp/hoplab-flows
mkdir -p $d
cat >$d/ports <<'END'
{ports}
END
cat >$d/send.sh <<'END'
number=0
while read -r port; do
  [ $((number % $2)) != $1 ] || printf "$port{rest}"
  number=$((number + 1))
done </tmp/hoplab-flows/ports
END
cpus=$(nproc); cpu=0
while [ $cpu -lt $cpus ]; do
  taskset -c $cpu socat -u "EXEC:sh $d/send.sh $cpu $cpus,socktype=5" IP4-SENDTO:{peer}:17 || exit
  cpu=$((cpu + 1))
done
"""


@dataclass(frozen=True)
class Counters:
    """What a guest's kernel has counted since it booted, by queue; interrupts by vCPU as well."""

    received: dict[int, int]
    sent: dict[int, int]
    interrupts: dict[int, Counter[int]]


def observe_queues(lane: Lane, sender: socket.socket) -> QueuesEvidence:
    """Send the flows both ways and tell what each queue did; ``sender`` as in `send_in`.

    What cannot be counted is named in ``missing``. Raises StartError where the guest cannot do its
    part.
    """
    threads = dict(vhost_threads(lane.guest.pid))
    wakeups: Mapping[int, int] = {}
    missing: list[str] = []
    family = _family(lane.guest)
    before = after = _look(lane, family)
    try:
        with open_tracing() as tracing:
            if woken := " || ".join(f"pid == {tid}" for tid in threads):
                tracing.select("sched/sched_wakeup", woken)
            with tracing.recording():
                after = _traffic(lane, sender, family, before)
            wakeups = tracing.wakeups()
    except CannotError as error:
        missing.append(error.message)
    if not (before.received and before.sent):
        missing.append(f"the driver {lane.nic.driver} counts no packets by queue")
    return QueuesEvidence(
        guest=lane.probe.guest,
        nic=lane.probe.nic,
        flows=lane.probe.flows,
        queues=differences(before, after),
        vhost_threads=tuple(
            Thread(tid=tid, name=name, wakeups=wakeups.get(tid, 0)) for tid, name in threads.items()
        ),
        refused=lane.nic.refused,
        missing=tuple(missing),
    )


def differences(before: Counters, after: Counters) -> tuple[QueueCount, ...]:
    """What each queue did between two looks."""
    none = Counter[int]()
    return tuple(
        QueueCount(
            index=index,
            rx_packets=received - before.received.get(index, 0),
            tx_packets=after.sent.get(index, 0) - before.sent.get(index, 0),
            interrupts=dict(after.interrupts.get(index, none) - before.interrupts.get(index, none)),
        )
        for index, received in sorted(after.received.items())
    )


def interrupts_in(text: str, device: str, virtio: str) -> dict[int, Counter[int]]:
    """Interrupts by queue and vCPU, from /proc/interrupts; queues that share a line have none.

    ``virtio`` is the name of the virtio device, which is what its lines are called after.
    """
    ours = re.compile(
        rf"^ *\d+:((?: +\d+)+) .* (?:{virtio}-(?:in|out)put\.|{device}-(?:TxRx|rx|tx)-)(\d+)$",
        re.MULTILINE,
    )
    found: dict[int, Counter[int]] = {}
    for counts, queue in ours.findall(text):
        by_vcpu = Counter({vcpu: int(count) for vcpu, count in enumerate(counts.split())})
        found.setdefault(int(queue), Counter()).update(by_vcpu)
    return found


def packets_in(text: str) -> tuple[dict[int, int], dict[int, int]]:
    """Packets received and sent by queue, from ``ethtool -S``; empty where it tells none."""
    both: dict[str, dict[int, int]] = {"rx": {}, "tx": {}}
    for way, queue, count in _COUNTER.findall(text):
        both[way][int(queue)] = int(count)
    return both["rx"], both["tx"]


def _traffic(lane: Lane, sender: socket.socket, family: int | None, before: Counters) -> Counters:
    """Send everything; the counters as soon as all has arrived, or at the end of our patience."""
    flows = lane.probe.flows
    template = _template(lane)
    for flow in range(flows):
        port = (_IN_PORT + flow).to_bytes(2)
        sender.send(template[:_SOURCE_PORT_AT] + port + template[_SOURCE_PORT_AT + 2 :])
    inside.run(lane.guest, _send_script(lane), "send its flows")
    deadline = time.monotonic() + PATIENCE
    while True:
        after = _look(lane, family)
        arrived = sum(after.received.values()) - sum(before.received.values())
        if arrived >= flows or not after.received or time.monotonic() > deadline:
            return after


def _template(lane: Lane) -> bytes:
    """A frame of the tester without a UDP checksum (0, RFC 768), so that a port can be put in."""
    nic = next(nic for nic in lane.guest.plan.nics if nic.id == lane.probe.nic)
    everybody = IPv4Interface(nic.address).network.broadcast_address
    frame = build(replace(lane.ends, guest=everybody), _PACKET)
    return frame[:_CHECKSUM_AT] + b"\0\0" + frame[_CHECKSUM_AT + 2 :]


def _send_script(lane: Lane) -> str:
    payload = _PACKET.payload
    rest = struct.pack("!HHH", PROBE_PORT, 8 + len(payload), 0) + payload
    ports = (inside.escaped((_OUT_PORT + flow).to_bytes(2)) for flow in range(lane.probe.flows))
    # `read -r` keeps the backslashes, the format of `printf` turns them into bytes.
    return _SEND.format(ports="\n".join(ports), rest=inside.escaped(rest), peer=lane.ends.tester)


def _look(lane: Lane, family: int | None) -> Counters:
    device = lane.nic.device
    text = inside.run(lane.guest, _LOOK.format(device=device), "count its packets").raw.decode()
    counted, _, rest = text.partition("@ ")
    head, _, lines = rest.partition("\n")
    index, virtio = head.split()
    received, sent = packets_in(counted)
    if family is not None and not received:
        request = qstats.packets_request(family, int(index))
        received, sent = qstats.packets_in(_ask(lane.guest, request))
    return Counters(received, sent, interrupts_in(lines, device, virtio))


def _family(guest: Guest) -> int | None:
    return qstats.family_in(_ask(guest, qstats.family_request()))


def _ask(guest: Guest, request: bytes) -> bytes:
    """Send a generic netlink message in the guest; what its kernel answers."""
    script = _NETLINK.format(message=inside.escaped(request))
    return inside.run(guest, script, "ask its kernel by netlink").raw
