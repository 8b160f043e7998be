"""The paths of a result, NIC by NIC, as the page tells them: a picture, a table, a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lab.evidence.carrier import CarrierEvidence
from lab.evidence.whole import Evidence
from lab.plan.data import VETH, Carrier, Direction, Place
from lab.plan.where import HOST, WIRE
from lab.report.html.picture import Drawing, Hardware, Station, Way, draw, stops
from lab.report.result import Result, ResultPath
from lab.report.verdict import Check

_FUNCTION = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_WORD = re.compile(r"[\w.-]+")
_CARRIERS = {
    Carrier.QEMU: "QEMU",
    Carrier.VHOST: "vhost-net in the host's kernel",
    Carrier.VFIO: "the hardware, by VFIO",
    None: "nobody known",
}


@dataclass(frozen=True)
class NicPath:
    """One NIC's part of the page.

    ``told`` is the picture in words, ``stopped`` where the probe got no further, ``others`` are
    devices that saw it though the path does not name them.
    """

    name: str
    driver: str
    words: str
    told: str
    stopped: tuple[str, ...]
    red: tuple[Check, ...]
    way: Way
    drawing: Drawing
    others: tuple[str, ...]

    @property
    def stray(self) -> bool:
        """Whether there should have been no others."""
        return any(_plain(check) == "strangers" for check in self.red)

    @property
    def hops(self) -> tuple[Station, ...]:
        """The rows of the table: what can be captured, from the wire to the guest."""
        return tuple(box.station for box in self.drawing.boxes if box.station.sides)


def nic_paths(result: Result, evidence: Evidence | None) -> Iterator[NicPath]:
    """One for each NIC that a marked probe went to or came from."""
    for guest, nic in dict.fromkeys((path.guest, path.nic) for path in result.paths):
        paths = tuple(path for path in result.paths if (path.guest, path.nic) == (guest, nic))
        if paths[0].hops:
            yield _nic_path(result, evidence, paths)


def _nic_path(result: Result, evidence: Evidence | None, paths: tuple[ResultPath, ...]) -> NicPath:
    first = paths[0]
    red = tuple(_red(result, first.guest, first.nic))
    carrier = _carrier(evidence, first.guest, first.nic)
    way = Way(
        paths=paths,
        hardware=_hardware(result, evidence, first),
        worker=", ".join(sorted({thread.name for thread in carrier.vhost_threads}))
        if carrier
        else "",
        wrong=any(_plain(check) == "carrier" for check in red),
    )
    stopped = tuple(f"{_way(path)}: {found}" for path in paths if (found := stops(path)))
    # Where the probe stopped says more than the name of the check that noticed.
    telling = ("carrier", "strangers") if stopped else ("carrier", "hops", "strangers")
    return NicPath(
        name=f"{first.guest}.{first.nic}",
        driver=first.driver or "",
        words=first.words,
        told=_told(paths),
        stopped=stopped,
        red=tuple(check for check in red if _plain(check).startswith(telling)),
        way=way,
        drawing=draw(way),
        others=tuple(_others(evidence, paths)),
    )


def _told(paths: tuple[ResultPath, ...]) -> str:
    """For who cannot see the picture."""
    ways = "; ".join(
        f"{_way(path)}: "
        + ", ".join(hop.hop if hop.seen else f"{hop.hop} (not seen)" for hop in path.hops)
        for path in paths
    )
    return f"{ways}. Carried by {_CARRIERS[paths[0].carrier]}."


def _way(path: ResultPath) -> str:
    return "way in" if path.direction is Direction.IN else "way out"


def _red(result: Result, guest: str, nic: str) -> Iterator[Check]:
    """The red checks of one NIC; the only NIC of a run has names without a prefix."""
    for check in result.checks:
        owner, slash, _ = check.name.rpartition("/")
        if not check.outcome.green and (not slash or owner in {guest, f"{guest}.{nic}"}):
            yield check


def _plain(check: Check) -> str:
    return check.name.rpartition("/")[2]


def _carrier(evidence: Evidence | None, guest: str, nic: str) -> CarrierEvidence | None:
    carriers = evidence.carriers if evidence else ()
    here = (each for each in carriers if (each.guest, each.nic) == (guest, nic))
    return next(here, None)


def _hardware(result: Result, evidence: Evidence | None, path: ResultPath) -> Hardware:
    """What the cable ends in, as far as the evidence names it."""
    if path.carrier is Carrier.VFIO:
        address = _vfio_address(result, evidence, path)
        return Hardware(
            _function(evidence, address, path.driver or ""), _short(address) or "by VFIO"
        )
    port = path.port
    if port is None:
        return Hardware("NIC", "")
    if port.driver == VETH:
        return Hardware("cable", "veth pair")
    played = "QEMU's " if result.place is Place.LABHOST else ""
    return Hardware(port.driver or "NIC", f"{played}{_short(port.pci)}")


def _short(address: str) -> str:
    return address.removeprefix("0000:")


def _vfio_address(result: Result, evidence: Evidence | None, path: ResultPath) -> str:
    """The function that QEMU was told to take, by its command line or by QMP."""
    told = result.commands.get(_process(evidence, path.guest), "").split()
    for words in (*told, *result.qmp.get(path.guest, ())):
        found = _FUNCTION.search(words)
        if found and {"vfio-pci", path.nic} <= set(_WORD.findall(words)):
            return found[0]
    return ""


def _process(evidence: Evidence | None, guest: str) -> str:
    """Which QEMU ran the guest when its path was proved: one that has moved is at its target."""
    move = evidence.migration if evidence else None
    moved = move and (move.guest, move.outcome) == (guest, "completed")
    return f"{guest}-target" if moved else guest


def _function(evidence: Evidence | None, address: str, driver: str) -> str:
    """A virtual function or a whole port; a driver's name tells where nothing else does."""
    functions = evidence.functions if evidence else ()
    here = next((each for each in functions if each.address == address), None)
    if driver.endswith("vf") or (here and here.physical):
        return "virtual function"
    return "whole port" if here else "NIC"


def _others(evidence: Evidence | None, paths: tuple[ResultPath, ...]) -> Iterator[str]:
    expected = {(hop.where, hop.device) for path in paths for hop in path.hops}
    nic = (paths[0].guest, paths[0].nic)
    probes = evidence.probes if evidence else ()
    seen = {
        (each.where, each.device)
        for probe in probes
        if (probe.guest, probe.nic) == nic
        for each in probe.sightings
    }
    for where, device in sorted(seen - expected):
        if where in {HOST, WIRE}:
            yield f"{where}:{device}"
