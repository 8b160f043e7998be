"""A ladder in which every layer takes away what theory says, for tests to spoil in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from lab.evidence.carrier import CarrierEvidence, Thread
from lab.evidence.host import Device
from lab.evidence.packets import Capture, MarkedProbe, Sighting
from lab.evidence.whole import Evidence
from lab.ladder import LAYERS
from lab.plan.data import Carrier, Direction, Place
from lab.report.costs import Costs, Count, Counted, Latency, Pattern, Tcp
from lab.report.measured import Run
from lab.report.path import PathHop
from lab.report.result import Accelerators, Result, ResultPath
from lab.report.verdict import Outcome

HOPS = {
    "e1000": ("uplink", "br0", "tap0"),
    "virtio": ("uplink", "br0", "tap0"),
    "vhost": ("uplink", "br0", "tap0"),
    "macvtap": ("uplink", "macvtap0"),
    "passthrough": (),
    "sriov": (),
    "multiqueue": ("uplink", "br0", "tap0"),
}
CARRIERS = {
    "e1000": Carrier.QEMU,
    "virtio": Carrier.QEMU,
    "passthrough": Carrier.VFIO,
    "sriov": Carrier.VFIO,
}
COUNTS = {
    "e1000": {"exits_to_qemu": 3.0, "qemu_syscalls": 14.0, "kicks": 0.0, "vhost_wakeups": 0.0},
    "virtio": {"exits_to_qemu": 0.0, "qemu_syscalls": 4.5, "kicks": 0.5, "vhost_wakeups": 0.0},
    "passthrough": {"exits_to_qemu": 0.0, "qemu_syscalls": 0.0, "vfio_interrupts": 1.0},
    "sriov": {"exits_to_qemu": 0.0, "qemu_syscalls": 0.0, "vfio_interrupts": 1.0},
}
VHOST = {"exits_to_qemu": 0.0, "qemu_syscalls": 0.0, "kicks": 0.5, "vhost_wakeups": 1.0}
P50_US = dict(zip(LAYERS, (4600.0, 2100.0, 1600.0, 1500.0, 1100.0, 1000.0, 1600.0), strict=True))
WOBBLE = (1.0, 1.01, 0.995)
"""What a round's values are multiplied with."""


def count(value: float) -> Count:
    return Count(mean=value, low=value * 0.99, high=value * 1.01)


def costs(name: str, wobble: float = 1.0) -> Costs:
    counts = {key: count(value * wobble) for key, value in COUNTS.get(name, VHOST).items()}
    p50 = P50_US[name] * wobble
    return Costs(
        counted=tuple(
            Counted(pattern=pattern, windows=3, packets=200, counts=counts)
            for pattern in get_args(Pattern)
        ),
        host_hops=len(HOPS[name]),
        latency=Latency(
            sent=500,
            lost=0,
            rate_pps=100,
            p50_us=p50,
            p90_us=1.2 * p50,
            p99_us=2 * p50,
            max_us=5 * p50,
        ),
        tcp=Tcp(in_mbit=100 * wobble, out_mbit=90 * wobble, transactions=1e6 / p50),
    )


def evidence(name: str) -> Evidence:
    threads = (2 if name == "multiqueue" else 1) if name not in CARRIERS else 0
    hops = HOPS[name]
    kinds = {"br0": "bridge", "tap0": "tap", "macvtap0": "macvtap"}
    probes = (
        MarkedProbe(
            probe=f"probe.{way}",
            guest="guest",
            nic="nic0",
            direction=way,
            sightings=tuple(
                Sighting(
                    where=where, device=device, time_ns=1, length=60, outgoing=True, checksum="good"
                )
                for where, device in (("wire", "eth1"), *(("host", hop) for hop in hops))
            ),
        )
        for way in Direction
    )
    carrier = CarrierEvidence(
        guest="guest",
        nic="nic0",
        round_trips=100,
        qemu_syscalls={},
        vhost_threads=tuple(Thread(tid=n, name="vhost-1", wakeups=9) for n in range(threads)),
        vhost_fds=threads,
        tap_fds=1,
        vfio_fds=0,
        vhost_in_qmp=None,
    )
    return Evidence(
        place=Place.LABHOST,
        qemu="10.0.13",
        host_kernel="6.12",
        probes=tuple(probes),
        carriers=(carrier,),
        captures=(Capture(where="host", packets=9, drops=0),),
        devices=tuple(Device(name=hop, kind=kinds.get(hop, "")) for hop in ("lo", *hops)),
    )


def result(name: str, wobble: float = 1.0) -> Result:
    hops = (("wire", "wire"), *((hop, "host") for hop in HOPS[name]), ("guest", "guest"))
    path = ResultPath(
        probe="probe.in",
        direction=Direction.IN,
        guest="guest",
        nic="nic0",
        driver="a driver",
        carrier=CARRIERS.get(name, Carrier.VHOST),
        words="",
        hops=tuple(PathHop(hop=hop, where=where, device=hop, seen=True) for hop, where in hops),
    )
    return Result(
        topology=name,
        title=f"title of {name}",
        outcome=Outcome.PASS,
        status=0,
        accelerator=Accelerators(labhost="tcg", guest="kvm"),
        paths=(path,),
        costs={"guest.nic0": costs(name, wobble)},
    )


def runs(
    names: Sequence[str] = LAYERS, wobbles: Sequence[float] = WOBBLE
) -> Mapping[str, Sequence[Run]]:
    """One run of every layer in every round."""
    return {
        name: [
            Run(result(name, wobble), evidence(name), f"out/{number}-{name}")
            for number, wobble in enumerate(wobbles, 1)
        ]
        for name in names
    }
