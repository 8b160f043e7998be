"""References to bridges: whether there is such a bridge, and whether it leads to the wire."""

from __future__ import annotations

from collections.abc import Iterator

from lab.model.places import Finding, Path
from lab.model.topology import Topology
from lab.model.wording import close_to
from lab.model.words import PortName


def check_bridge(topology: Topology, path: Path, name: str) -> Iterator[Finding]:
    """What is wrong with the bridge that is named at ``path``, where a NIC is to hang."""
    names = [bridge.name for bridge in topology.bridges]
    if name not in names:
        hint = close_to(name, names) or f"bridges: {', '.join(names) or 'none'}"
        yield Finding(path, f"there is no bridge {name!r}", hint, looks_in="bridges")
        return
    number = names.index(name)
    if topology.bridges[number].uplink is None:
        message = f"bridge {name!r} has no uplink, and every NIC is probed from the wire"
        hint = f"give {name} an uplink: {', '.join(PortName)}"
        yield Finding(path, message, hint, rests_on=(("bridges", number, "uplink"),))
