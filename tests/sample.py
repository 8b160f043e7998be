"""A run in which everything is as it should be, for tests to spoil in one place at a time."""

from __future__ import annotations

from lab.evidence.carrier import CarrierEvidence, Thread
from lab.evidence.costs import CostsEvidence, CostWindow, DueEvidence, Machine
from lab.evidence.guest import GuestEvidence, NicEvidence
from lab.evidence.packets import Capture, Clock, Exchange, MarkedProbe, Sighting
from lab.evidence.whole import Evidence
from lab.plan.data import (
    Carrier,
    Direction,
    Expectation,
    Facts,
    GuestPlan,
    Hop,
    NicPlan,
    Place,
    Plan,
    Port,
    ProbePlan,
)
from lab.report.counting import costs_in
from lab.report.judge import judge
from lab.report.result import Accelerators, Result, Versions, paths_in

SIZES = (60, 590, 1514)
HOPS = (
    Hop(name="wire", where="wire", device="eth1"),
    Hop(name="uplink", where="host", device="eth0"),
    Hop(name="br0", where="host", device="br0"),
    Hop(name="tap0", where="host", device="tap0"),
    Hop(name="guest", where="guest", device="eth0"),
)
EXPECTATION = Expectation(
    guest="guest", nic="net0", driver="virtio_net", carrier=Carrier.VHOST, hops=HOPS
)

_START = 1_700_000_000_000_000_000
_TIMES_NS = {
    Direction.IN: (0, 38_100, 38_100, 48_300, 261_000),
    Direction.OUT: (0, 201_000, 212_000, 212_000, 240_000),
}


def plan(expectation: Expectation = EXPECTATION) -> Plan:
    """One guest on a bridge, its packets moved by vhost."""
    nic = NicPlan(id="net0", netdev="hn0", mac="52:54:00:00:00:01", address="192.0.2.2/24")
    return Plan(
        topology="vhost",
        title="a guest on a bridge, its packets moved by vhost-net",
        facts=Facts(
            place=Place.LABHOST,
            accelerator="kvm",
            qemu=("qemu-system-x86_64",),
            qemu_env={},
            kernel="/vmlinux",
            initrd="/initrd",
            ports=(Port(name="uplink", device="eth0", pci="0000:01:00.0", driver="igb"),),
            tester="eth1",
            run="abcd",
        ),
        operations=(),
        guests=(GuestPlan(name="guest", argv=(), nics=(nic,)),),
        probes=(ProbePlan(guest="guest", nic="net0", peer="192.0.2.1", sizes=SIZES),),
        expectations=(expectation,),
    )


def carrier(kind: Carrier) -> CarrierEvidence:
    """What is counted when ``kind`` moves the packets of 200 round trips."""
    vhost = kind is Carrier.VHOST
    return CarrierEvidence(
        guest="guest",
        nic="net0",
        round_trips=200,
        qemu_syscalls={"readv": 200, "writev": 200} if kind is Carrier.QEMU else {},
        vhost_threads=(Thread(tid=12, name="vhost-10", wakeups=401),) if vhost else (),
        vhost_fds=int(vhost),
        tap_fds=int(kind is not Carrier.VFIO),
        vfio_fds=int(kind is Carrier.VFIO),
        vhost_in_qmp=None if kind is Carrier.VFIO else vhost,
    )


def evidence() -> Evidence:
    """Complete, and as `plan` expects it."""
    return Evidence(
        place=Place.LABHOST,
        qemu="10.0.13",
        host_kernel="6.12.57",
        guests=(
            GuestEvidence(
                name="guest",
                accelerator="kvm",
                kernel="6.12.57",
                command="qemu-system-x86_64 -accel kvm",
                boot_seconds=5.5,
                nics=(
                    NicEvidence(
                        id="net0", device="eth0", driver="virtio_net", mac="52:54:00:00:00:01"
                    ),
                ),
            ),
        ),
        exchanges=tuple(_exchanges()),
        probes=tuple(_probe(direction) for direction in Direction),
        carriers=(carrier(Carrier.VHOST),),
        costs=(costs(),),
        machine=Machine(cpu="AMD EPYC Processor", clock_source="tsc"),
        clocks=(Clock(guest="guest", offset_ns=5_000_000, error_ns=14_000),),
        captures=tuple(
            Capture(where=where, packets=50, drops=0) for where in ("host", "wire", "guest")
        ),
    )


def costs() -> CostsEvidence:
    """What vhost's packets cost in ping-pong and in bursts; a window of each, and an idle one."""
    idle = {
        group: dict[str, int]()
        for group in (
            *("exits", "exits_to_qemu", "exits_timing", "timer_writes"),
            *("mmio_writes", "qemu_syscalls", "vhost_wakeups"),
        )
    }
    ping_pong = {
        **idle,
        "exits": {"npf": 50, "hlt": 100},
        "mmio_writes": {"slow": 50},
        "vhost_wakeups": {"12": 100},
    }
    burst = {**ping_pong, "exits": {"npf": 2, "hlt": 4}, "mmio_writes": {"slow": 8}}
    return CostsEvidence(
        guest="guest",
        nic="net0",
        kvm=True,
        burst=64,
        windows=(
            CostWindow(
                pattern="ping-pong",
                traced=True,
                packets=100,
                seconds=0.1,
                counters=ping_pong,
                trips_ns=(900_000, 1_100_000),
            ),
            CostWindow(pattern="idle", traced=True, seconds=0.1, counters=idle),
            CostWindow(pattern="burst", traced=True, packets=512, seconds=0.1, counters=burst),
        ),
        due=DueEvidence(sent=3, pause_ns=2_000_000, trips_ns=(900_000, 950_000, 2_400_000)),
    )


def _exchanges() -> list[Exchange]:
    def exchange(protocol: str, direction: Direction, size: int) -> Exchange:
        return Exchange.model_validate(
            {
                "protocol": protocol,
                "guest": "guest",
                "nic": "net0",
                "direction": direction,
                "size": size,
                "sent": 3,
                "delivered": 3,
                "checked": 3 if protocol in {"icmp", "udp"} else 0,
            }
        )

    sized = [
        exchange(protocol, direction, size)
        for protocol in ("icmp", "udp")
        for direction in Direction
        for size in SIZES
    ]
    tcp = [exchange("tcp", direction, 262144) for direction in Direction]
    return [exchange("arp", direction, 60) for direction in Direction] + sized + tcp


def _probe(direction: Direction) -> MarkedProbe:
    hops = HOPS if direction is Direction.IN else HOPS[::-1]
    return MarkedProbe(
        probe=f"probe-{direction}",
        guest="guest",
        nic="net0",
        direction=direction,
        sightings=tuple(
            Sighting(
                where=hop.where,
                device=hop.device,
                time_ns=_START + after,
                length=98,
                outgoing=index > 0,
                checksum="good",
            )
            for index, (hop, after) in enumerate(zip(hops, _TIMES_NS[direction], strict=True))
        ),
    )


def result(seen: Evidence | None = None) -> Result:
    """The result of a run that saw ``seen``."""
    seen = seen or evidence()
    verdict = judge(plan(), seen, ())
    return Result(
        topology="vhost",
        title="a guest on a bridge, its packets moved by vhost-net",
        outcome=verdict.outcome,
        status=verdict.status,
        accelerator=Accelerators(labhost="tcg", guest="kvm"),
        versions=Versions(
            labhost_qemu="1:10.0.13+ds-0+deb13u1",
            qemu="10.0.13",
            host_kernel="6.12.57",
            guest_kernel="6.12.57",
        ),
        checks=verdict.checks,
        paths=paths_in(plan(), seen),
        costs=costs_in(plan(), seen),
        commands={"guest": "qemu-system-x86_64 -accel kvm"},
        artifacts={
            name: f"lab-results/vhost-20261122-150000/{name}"
            for name in ("evidence.json", "capture.pcapng", "guest-console.log")
        },
        timings={"lab host": 0.6, "total": 9.8},
    )
