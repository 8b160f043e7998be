"""The way of a marked probe: the expected hops with the time at which each saw it.

Host and wire are one kernel with one clock. A guest has its own, so its times carry an error, and
an order is only called wrong where it is wrong by more than that.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from lab.data import Data
from lab.evidence.packets import MarkedProbe, Sighting
from lab.evidence.whole import Evidence
from lab.plan.data import Direction, Expectation, Hop
from lab.plan.where import HOST, WIRE


class PathHop(Data):
    """One expected hop. ``time_ns`` is on the host's clock, within ``error_ns`` either way.

    ``error_ns`` is ``None`` where the hop's own clock was never compared with the host's. ``rank``
    is its place among all sightings of the probe: a bridge shows the stamp of the port that
    received, so only the order in which the capture had them tells port from bridge.
    """

    hop: str
    where: str
    device: str
    seen: bool
    time_ns: int | None = None
    error_ns: int | None = None
    rank: int = 0


class Path(Data):
    """One probe's way, in the order in which it should pass the hops."""

    probe: str
    guest: str
    nic: str
    direction: Direction
    hops: tuple[PathHop, ...]


def paths_of(expectation: Expectation, evidence: Evidence) -> tuple[Path, ...]:
    """The ways of all probes towards one NIC; none where the topology names no hops."""
    return tuple(
        Path(
            probe=probe.probe,
            guest=probe.guest,
            nic=probe.nic,
            direction=probe.direction,
            hops=tuple(
                _path_hop(_named(hop, expectation, evidence), probe, evidence)
                for hop in _hops(expectation, probe.direction)
            ),
        )
        for probe in probes_of(expectation, evidence)
        if expectation.hops
    )


def probes_of(expectation: Expectation, evidence: Evidence) -> tuple[MarkedProbe, ...]:
    """The marked probes sent towards or from one NIC."""
    nic = (expectation.guest, expectation.nic)
    return tuple(probe for probe in evidence.probes if (probe.guest, probe.nic) == nic)


def device_of(evidence: Evidence, guest: str, nic: str) -> str:
    """What a guest calls one of its NICs; empty where it did not say."""
    for each in evidence.guests:
        for known in each.nics:
            if (each.name, known.id) == (guest, nic):
                return known.device
    return ""


def disorder(path: Path) -> tuple[str, ...]:
    """Hops that saw the probe before the hop ahead of them did, beyond what the clocks allow."""
    seen = [hop for hop in path.hops if hop.time_ns is not None]
    return tuple(
        f"{later.hop} before {sooner.hop}"
        for sooner, later in pairwise(seen)
        if _reversed(sooner, later)
    )


def strangers(
    expectation: Expectation, probe: MarkedProbe, apart: Iterable[Hop] = ()
) -> tuple[str, ...]:
    """Devices of the host and of the wire that saw the probe, and are neither on its way nor
    ``apart``."""
    expected = {(hop.where, hop.device) for hop in (*(expectation.hops or ()), *apart)}
    seen = {
        (sighting.where, sighting.device)
        for sighting in probe.sightings
        if sighting.where in {HOST, WIRE}
    }
    return tuple(f"{where}:{device}" for where, device in sorted(seen - expected))


def _reversed(sooner: PathHop, later: PathHop) -> bool:
    assert sooner.time_ns is not None
    assert later.time_ns is not None
    if sooner.where == later.where:
        return (later.time_ns, later.rank) < (sooner.time_ns, sooner.rank)
    return later.time_ns - sooner.time_ns < -((sooner.error_ns or 0) + (later.error_ns or 0))


def _hops(expectation: Expectation, direction: Direction) -> tuple[Hop, ...]:
    hops = expectation.hops or ()
    return hops if direction is Direction.IN else tuple(reversed(hops))


def _named(hop: Hop, expectation: Expectation, evidence: Evidence) -> Hop:
    """The guest's own hop as the guest calls it: which NIC becomes eth0 is its kernel's choice."""
    if hop.where != expectation.guest:
        return hop
    device = device_of(evidence, expectation.guest, expectation.nic)
    return hop.model_copy(update={"device": device or hop.device})


def _path_hop(hop: Hop, probe: MarkedProbe, evidence: Evidence) -> PathHop:
    sighting = _first(hop, probe)
    if sighting is None:
        return PathHop(hop=hop.name, where=hop.where, device=hop.device, seen=False)
    return PathHop(
        hop=hop.name,
        where=hop.where,
        device=hop.device,
        seen=True,
        time_ns=sighting.time_ns,
        error_ns=_error_ns(hop.where, evidence),
        rank=probe.sightings.index(sighting),
    )


def _first(hop: Hop, probe: MarkedProbe) -> Sighting | None:
    """A bridge may see one frame twice, on its way in and out: the first time counts."""
    here = (
        sighting
        for sighting in probe.sightings
        if (sighting.where, sighting.device) == (hop.where, hop.device)
    )
    return min(here, key=lambda sighting: sighting.time_ns, default=None)


def _error_ns(where: str, evidence: Evidence) -> int | None:
    """How far stamps of ``where`` may be off; they are on the host's clock already."""
    if where in {HOST, WIRE}:
        return 0
    # One for each NIC of the guest; which of them moved a stamp is not told.
    return max((clock.error_ns for clock in evidence.clocks if clock.guest == where), default=None)
