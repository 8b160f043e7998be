"""Runs and ladders that have everything a page can show, and the same written by an enemy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeVar

from lab.data import Data
from lab.plan.data import Carrier, Direction
from lab.report.costs import Costs, Count, Counted, Latency, Tcp, ZeroLoss
from lab.report.life import Actor, Counters, Life, Loss, Span, Step
from lab.report.result import Accelerators, Machines, Problem, Result, ResultPath, Versions
from lab.report.rungs import (
    Comparison,
    Flag,
    Kept,
    Ladder,
    Measure,
    Ratio,
    Rung,
)
from lab.report.rungs import Step as Between
from lab.report.verdict import Outcome
from tests import sample

Record = TypeVar("Record", bound=Data)
EVIL = "</code></script><script>document.title='owned'</script><img src=x onerror=alert(1)>'\""
CONTROLS = "\x1b[2J\x00\x07\x9b\u202e\u2066"
"""What clears a terminal, ends a string, rings, and turns the direction of writing."""

_CARRIERS = {
    "e1000": Carrier.QEMU,
    "virtio": Carrier.QEMU,
    "vhost": Carrier.VHOST,
    "macvtap": Carrier.VHOST,
    "sriov": Carrier.VFIO,
}
_MEASURES = {
    "path.host_hops": (3, 3, 3, 2, 0),
    "ping-pong.exits_to_qemu": (3.02, 0, 0, 0, 0),
    "burst.exits_to_qemu": (2.1, 0, 0, 0, 0),
    "ping-pong.exits_kernel_only": (0.5, 2.2, 2.3, 2.2, 1.1),
    "ping-pong.qemu_syscalls": (14, 4.5, 0, 0, 0),
    "burst.qemu_syscalls": (9.1, 1.3, 0, 0, 0),
    "ping-pong.vhost_wakeups": (0, 0, 1.0, 0.9, 0),
    "ping-pong.cpu_qemu_us": (310.2, 121.7, 0, 0, 0),
    "time.p50_us": (2300, 1060, 820, 790, 640),
    "time.p99_us": (6100, 3900, 2400, 2500, 1800),
    "rate.tcp_in": (61, 210, 420, 480, 512),
}


def life(*, lost: bool = False) -> Life:
    """One echo there and back, or lost on a bridge."""
    plan = (
        (Actor.TESTER, Direction.IN, 30),
        (Actor.NIC, Direction.IN, 55),
        (Actor.HOST, Direction.IN, 160),
        (Actor.VHOST, Direction.IN, 120),
        (Actor.KVM, Direction.IN, 40),
        (Actor.GUEST, Direction.IN, 210),
        (Actor.VHOST, Direction.OUT, 90),
        (Actor.HOST, Direction.OUT, 130),
        (Actor.NIC, Direction.OUT, 45),
        (Actor.TESTER, Direction.OUT, 20),
    )[: 3 if lost else None]
    spans, steps, now = [], [], 0
    for actor, leg, length in plan:
        end = now + length * 1000
        spans.append(Span(actor=actor, leg=leg, begin_ns=now, end_ns=end))
        steps.append(_step(actor, leg, now))
        now = end
    loss = Loss(
        leg=Direction.IN,
        seen_at="br0 ingress",
        words="last seen at br0 ingress, dropped in br_dev_queue_push_xmit: larger than the MTU",
        function="br_dev_queue_push_xmit",
        counters=(Counters(where="host", device="br0", mtu=1500, grown={"rx_packets": 1}),),
    )
    return Life(
        guest="guest",
        nic="net0",
        probe="probe-life",
        kind="icmp",
        size=98,
        start_ns=0,
        duration_ns=now,
        steps=tuple(steps),
        spans=tuple(spans),
        loss=loss if lost else None,
        notes=("A guest's own steps carry its clock's error.",),
    )


def _step(actor: Actor, leg: Direction, time_ns: int) -> Step:
    return Step(
        time_ns=time_ns,
        actor=actor,
        where="guest" if actor is Actor.GUEST else "host",
        event="net_dev_queue",
        what=f"{actor.value} takes it",
        leg=leg,
        device="eth0",
        cpu=None if actor is Actor.GUEST else 1,
        thread="vhost-215" if actor is Actor.VHOST else "",
        strong=actor is not Actor.KVM,
    )


def costs() -> Costs:
    """Everything that costs can hold."""
    counts = {
        "exits_to_qemu": Count(mean=0, low=0, high=0),
        "exits_kernel_only": Count(mean=2.31, low=2.2, high=2.44),
        "vhost_wakeups": Count(mean=1.01, low=1, high=1.02),
        "cpu_vhost_us": Count(mean=41.2, low=39, high=44.5),
    }
    counted = Counted(
        pattern="ping-pong",
        windows=3,
        packets=400,
        counts=counts,
        reasons={"exits_kernel_only": {"npf": 1.0, "hlt": 1.31}},
    )
    burst = {name: Count(mean=each.mean / 20, low=0, high=0.2) for name, each in counts.items()}
    return Costs(
        counted=(
            counted,
            Counted(pattern="burst", burst=64, windows=3, packets=1280, counts=burst),
        ),
        host_hops=3,
        latency=Latency(
            sent=200, lost=0, rate_pps=100, p50_us=812, p90_us=1240, p99_us=2310, max_us=4100
        ),
        observer=1.08,
        zero_loss=(ZeroLoss(size=64, pps=5200, trials=9), ZeroLoss(size=1518, pps=4100, trials=9)),
        tcp=Tcp(in_mbit=410, out_mbit=388, transactions=930),
        not_measured={"vfio_interrupts": "no device was passed through"},
    )


def ladder() -> Ladder:
    """Five layers, one promise broken."""
    names = tuple(_CARRIERS)
    return Ladder(
        outcome=Outcome.FAIL,
        status=1,
        date="2026-11-22T18:00:00+00:00",
        cpu="AMD EPYC",
        seconds=214.3,
        rounds=3,
        jobs=2,
        versions=Versions(
            labhost_qemu="1:10.0.13+ds", qemu="10.0.13", host_kernel="6.12", guest_kernel="6.12"
        ),
        rungs=tuple(_rung(index, name) for index, name in enumerate(names)),
        steps=tuple(
            Between(upper=upper, lower=lower, ratios=_ratios(index))
            for index, (upper, lower) in enumerate(pairwise(names))
        ),
        promises=(_kept(Outcome.PASS), _kept(Outcome.FAIL)),
        flags=(
            Flag(
                rung="sriov",
                quantity="ping-pong.exits_to_qemu",
                per_packet=0.02,
                reasons={"KVM_EXIT_MMIO": 0.02},
            ),
        ),
    )


def _rung(index: int, name: str) -> Rung:
    carrier = _CARRIERS[name]
    return Rung(
        name=name,
        title=f"what {name} is",
        above=None,
        outcome=Outcome.PASS,
        status=0,
        accelerator=Accelerators(labhost="tcg", guest="kvm"),
        carrier=carrier,
        paths=tuple(_carried(path, carrier) for path in sample.result().paths),
        measures={
            key: Measure(
                rounds=(values[index],),
                mean=values[index],
                low=values[index] * 0.95,
                high=values[index] * 1.1,
            )
            for key, values in _MEASURES.items()
        },
        not_measured={"rate.zero_loss_64": "the machine is emulated"},
        folders=(f"/results/ladder/{name}-1",),
    )


def _carried(path: ResultPath, carrier: Carrier) -> ResultPath:
    hops = [hop for hop in path.hops if carrier is not Carrier.VFIO or hop.where != "host"]
    return path.model_copy(update={"carrier": carrier, "hops": tuple(hops)})


def _ratios(index: int) -> dict[str, Ratio]:
    found = {}
    for key, values in _MEASURES.items():
        before, after = values[index], values[index + 1]
        verdict = Comparison.FEWER if after < before else Comparison.UNCLEAR
        ratio = after / before if before else None
        found[key] = Ratio(value=ratio, low=ratio, high=ratio, verdict=verdict)
    return found


def _kept(outcome: Outcome) -> Kept:
    return Kept(
        name="exits-gone",
        says="a paravirtual NIC does not stop for QEMU",
        upper="e1000",
        lower="virtio",
        quantity="ping-pong.exits_to_qemu",
        outcome=outcome,
        observed="3.02 to 0.00 a packet",
    )


def full() -> Result:
    """A run that passed, with its costs, and was traced."""
    more = {
        "costs": {"guest.net0": costs()},
        "life": (life(), life(lost=True)),
        "machine": Machines(here="AMD EPYC", cpu="QEMU", clock_source="tsc"),
    }
    return sample.result().model_copy(update=more)


_GUESTS = ("guest", "two", "three", "four", "five", "six")


def several(number: int = 2, bridges: int = 1, each: int = 1) -> Result:
    """Guests with ``each`` NICs, which are in turn on bridges with a port each."""
    result = sample.result()
    paths = tuple(
        _moved(path, _GUESTS[index // each], index, index % each, index % bridges)
        for index in range(number)
        for path in result.paths
    )
    return result.model_copy(update={"paths": paths})


def _moved(path: ResultPath, guest: str, tap: int, nic: int, bridge: int) -> ResultPath:
    """The path as that of another NIC."""
    assert path.port
    port = path.port.model_copy(
        update={
            "device": f"eth{2 * bridge}",
            "pci": f"0000:{2 * bridge + 1:02x}:00.0",
            "driver": "e1000e" if bridge == 3 else "igb",
        }
    )
    devices = {
        ("host", "eth0"): port.device,
        ("host", "br0"): f"br{bridge}",
        ("host", "tap0"): f"tap{tap}",
        ("guest", "eth0"): f"eth{nic}",
    }
    hops = tuple(
        hop.model_copy(
            update={
                "device": devices.get((hop.where, hop.device), hop.device),
                "hop": devices.get((hop.where, hop.hop), hop.hop),
            }
        )
        for hop in path.hops
    )
    changed = {"guest": guest, "nic": f"net{nic}", "hops": hops, "port": port}
    return path.model_copy(update=changed)


def failing() -> Result:
    """A probe that got no further than the bridge."""
    seen = sample.evidence()
    cut = seen.probes[0].model_copy(update={"sightings": seen.probes[0].sightings[:3]})
    return sample.result(seen.model_copy(update={"probes": (cut, *seen.probes[1:])}))


def dead() -> Result:
    """A guest that ended while it booted."""
    return Result(
        topology="vhost",
        title="a guest on a bridge",
        outcome=Outcome.ERROR,
        status=4,
        artifacts={"guest-console.log": "/results/guest-console.log"},
        error=Problem(
            kind="StartError",
            message="guest ended with status 1 before its agent answered",
            hint="look at its console",
            status=4,
            argv=("qemu-system-x86_64", "-m", "16M"),
            returncode=1,
            output="Kernel panic - not syncing: System is deadlocked on memory",
        ),
    )


def spoiled(record: Record) -> Record:
    """The same with an attack in every text, whoever wrote it."""
    changed = {name: _evil(getattr(record, name)) for name in type(record).model_fields}
    return record.model_copy(update=changed)


def _evil(value: Any) -> Any:
    """Plain texts and keys only: words of a closed set are checked when they are read."""
    if isinstance(value, Data):
        return spoiled(value)
    if type(value) is str:
        return value + CONTROLS + EVIL
    if isinstance(value, tuple):
        return tuple(_evil(each) for each in value)
    if isinstance(value, dict):
        return {key + CONTROLS + EVIL: _evil(each) for key, each in value.items()}
    return value
