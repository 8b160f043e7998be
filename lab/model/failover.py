"""What must fit together where a guest has a failover pair of NICs, and where it migrates."""

from __future__ import annotations

from collections.abc import Iterator

from lab.model.bridges import check_bridge
from lab.model.places import Finding, Path
from lab.model.topology import Guest, Migration, Nic, Topology, nic_name
from lab.model.wording import close_to


def check(topology: Topology) -> Iterator[Finding]:
    """Everything about pairs and migration that does not fit together."""
    for number, guest in enumerate(topology.guests):
        yield from _pairs(number, guest)
    if topology.migration is not None:
        yield from _migration(topology, topology.migration)
    moving = topology.migration.guest if topology.migration else None
    for key, expect in topology.expect.items():
        if expect.downtime is not None and key.partition(".")[0] != moving:
            message = "means nothing here: this guest does not migrate"
            yield Finding(("expect", key, "downtime"), message, looks_in="migration")


def primary_of(guest: Guest, standby: Nic) -> Nic | None:
    """The NIC that ``standby`` stands by for; None where there is no such NIC."""
    for index, nic in enumerate(guest.nics):
        if nic is not standby and nic_name(nic, index) == standby.failover:
            return nic
    return None


def standby_of(guest: Guest, primary: Nic) -> Nic | None:
    """The NIC that stands by for ``primary``; None where it is no primary."""
    for nic in guest.nics:
        if nic.failover is not None and primary_of(guest, nic) is primary:
            return nic
    return None


def pairs(topology: Topology) -> dict[str, str]:
    """What the file calls each primary, with what it calls the standby: the pair's own name."""
    return {
        f"{guest.name}.{nic.failover}": f"{guest.name}.{nic_name(nic, index)}"
        for guest in topology.guests
        for index, nic in enumerate(guest.nics)
        if primary_of(guest, nic) is not None
    }


def named_as_pair(path: Path, standby: str) -> Finding:
    """That a primary is named where only the pair can be."""
    message = "is the primary of a pair, and a pair is one NIC to the proof"
    return Finding(path, message, f"name it by its standby: {standby}", looks_in="guests")


def _pairs(number: int, guest: Guest) -> Iterator[Finding]:
    for index, nic in enumerate(guest.nics):
        path = ("guests", number, "nics", index)
        if nic.failover is not None:
            yield from _standby((*path, "failover"), guest, nic)
        elif standby_of(guest, nic) is not None:
            yield from _primary(path, nic)


def _primary(path: Path, nic: Nic) -> Iterator[Finding]:
    if nic.mac is not None:
        message = "a primary has the address of its standby: the guest pairs them by it"
        yield Finding((*path, "mac"), message)
    for key in ("vlan", "trust", "spoofchk"):
        if nic.vf is not None and getattr(nic.vf, key) is not None:
            message = "cannot be set for a primary: neither its standby nor the VF of a move has it"
            yield Finding((*path, "vf", key), message)


def _standby(path: Path, guest: Guest, nic: Nic) -> Iterator[Finding]:
    if nic.bridge is None or not nic.model.virtio:
        message = "only a virtio NIC on a bridge can stand by for another"
        yield Finding(path, message, rests_on=((*path[:-1], "bridge"),))
    primary = primary_of(guest, nic)
    if primary is None:
        known = [nic_name(each, index) for index, each in enumerate(guest.nics) if each is not nic]
        hint = close_to(str(nic.failover), known) or f"its other NICs: {', '.join(known) or 'none'}"
        message = f"this guest has no other NIC {nic.failover!r}"
        yield Finding(path, message, hint, looks_in="guests")
    elif primary.vf is None:
        index = next(n for n, each in enumerate(guest.nics) if each is primary)
        message = f"{nic.failover!r} is no VF: a primary has to be one"
        yield Finding(path, message, rests_on=((*path[:-2], index, "vf"),))
    elif standby_of(guest, primary) is not nic:
        yield Finding(path, f"{nic.failover!r} has a standby already")


def _migration(topology: Topology, migration: Migration) -> Iterator[Finding]:
    guest = next((each for each in topology.guests if each.name == migration.guest), None)
    if guest is None:
        hint = close_to(migration.guest, [each.name for each in topology.guests])
        message = f"there is no guest {migration.guest!r}"
        yield Finding(("migration", "guest"), message, hint, looks_in="guests")
    elif len(guest.nics) != 2 or not any(nic.failover for nic in guest.nics):
        message = f"guest {guest.name} must have two NICs, one with failover: naming the other"
        yield Finding(("migration", "guest"), message, looks_in="guests")
    yield from _target_bridge(topology, migration)
    if migration.vf is not None:
        yield from _target_vf(topology, migration)
    for number, each in enumerate(topology.guests):
        if each.name in {f"{migration.guest}-target", f"{migration.guest}-plain"}:
            message = f"{each.name!r} is taken: the lab calls a QEMU of {migration.guest} so"
            yield Finding(("guests", number, "name"), message)


def _target_bridge(topology: Topology, migration: Migration) -> Iterator[Finding]:
    path = ("migration", "bridge")
    yield from check_bridge(topology, path, migration.bridge)
    if any(nic.bridge == migration.bridge for each in topology.guests for nic in each.nics):
        message = "the guest goes to a bridge of its own: this one has a NIC already"
        yield Finding(path, message)


def _target_vf(topology: Topology, migration: Migration) -> Iterator[Finding]:
    assert migration.vf is not None
    port, index = migration.vf.port, migration.vf.index
    counts = {functions.port: functions.count for functions in topology.vfs}
    if index >= counts.get(port, 0):
        message = f"there is no VF {index} on port {port}"
        hint = "make it with the list vfs: at the top of the file"
        yield Finding(("migration", "vf"), message, hint, looks_in="vfs")
    taken = {(nic.vf.port, nic.vf.index) for g in topology.guests for nic in g.nics if nic.vf}
    if (port, index) in taken:
        yield Finding(("migration", "vf"), f"VF {index} of port {port} already belongs to a NIC")
