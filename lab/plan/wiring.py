"""Every NIC of a topology with all that is decided for it: ids, device, addresses.

Ids and device names are counted over the whole topology, so that no two guests share one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from lab.errors import CannotError
from lab.model.failover import standby_of
from lab.model.topology import Guest, Nic, TargetVf, Topology, Vf, nic_name
from lab.model.words import PortName
from lab.plan.data import Facts, Port

PREFIX = 24
RELAY = "relay"
"""The bridge at the far end that sends frames back where they came from."""
_TESTER = 1
_FIRST_GUEST = 11
_NICS = 8  # of one guest, at most


@dataclass(frozen=True)
class Seat:
    """One NIC in its place. ``index`` counts in the guest, ``device`` is its tap or macvtap.

    ``name`` is what the topology file calls the NIC and QEMU's id of the ``-device``; ``standby``
    is that of the NIC that stands by for this one, empty for all but a primary.

    ``address`` is the guest's and ``peer`` the tester's, in a network of their own for each NIC of
    a guest: in one network the guest would answer through whichever NIC it likes. The
    tester has it on its device for the NIC's ``vlan`` where that is not None.
    """

    guest: Guest
    nic: Nic
    index: int
    name: str
    device: str
    mac: str
    address: str
    peer: str
    standby: str = ""
    vlan: int | None = None

    @property
    def tester(self) -> str:
        """The tester's device in the NIC's VLAN; empty where the NIC has none."""
        return "" if self.vlan is None else f"vlan{self.vlan}"

    @property
    def key(self) -> str:
        """What the topology file calls the NIC in ``expect`` and ``reach``."""
        several = len(self.guest.nics) > 1
        return f"{self.guest.name}.{self.name}" if several else self.guest.name

    @property
    def netdev(self) -> str:
        """QEMU's id of the ``-netdev``; empty where the guest gets a real device."""
        return f"net{self.index}" if self.nic.emulated else ""

    @property
    def root_port(self) -> str:
        """QEMU's id of the PCIe root port that the NIC sits behind."""
        return f"rp{self.index}"


@dataclass(frozen=True)
class Wiring:
    """A topology on a place."""

    topology: Topology
    facts: Facts

    @cached_property
    def seats(self) -> tuple[Seat, ...]:
        """All NICs, guest by guest. Raises CannotError where one is to be a port we lack."""
        macs = self._macs()
        counts = {"tap": 0, "macvtap": 0, "": 0}
        seats: list[Seat] = []
        for guest, nic, index in self._nics():
            kind = "tap" if nic.bridge else "macvtap" if nic.macvtap else ""
            network = self._network(nic, index)
            seat = Seat(
                guest=guest,
                nic=nic,
                index=index,
                name=nic_name(nic, index),
                device=f"{kind}{counts[kind]}" if kind else "",
                mac=macs[len(seats)],
                standby=_standby_id(guest, nic),
                address=_address(network, _FIRST_GUEST + len(seats)),
                peer=_address(network, _TESTER),
                vlan=nic.vf.vlan if nic.vf else None,
            )
            counts[kind] += 1
            seats.append(seat)
        return tuple(seats)

    @cached_property
    def targets(self) -> tuple[Seat, ...]:
        """The NICs of the guest that migrates where it goes to; none where no guest migrates."""
        migration = self.topology.migration
        if migration is None:
            return ()
        taps = sum(seat.nic.bridge is not None for seat in self.seats)
        return tuple(
            _moved(seat, migration.bridge, f"tap{taps}", migration.vf)
            for seat in self.seats
            if seat.guest.name == migration.guest
        )

    def final(self, seat: Seat) -> Seat:
        """The NIC where the guest is in the end: a migration that is not aborted moves it."""
        migration = self.topology.migration
        if migration is None or migration.abort:
            return seat
        there = {(each.guest.name, each.name): each for each in self.targets}
        return there.get((seat.guest.name, seat.name), seat)

    @property
    def lanes(self) -> tuple[Seat, ...]:
        """The NICs that the guests have addresses on: of a failover pair, the standby's."""
        return tuple(seat for seat in self.seats if not seat.standby)

    @property
    def tester(self) -> str:
        """The device that has the tester's addresses: on a relay, the relay's own."""
        return RELAY if self.topology.wire.hairpin else self.facts.tester

    def of(self, guest: Guest) -> tuple[Seat, ...]:
        """The NICs of one guest."""
        return tuple(seat for seat in self.seats if seat.guest is guest)

    def port(self, name: PortName) -> Port:
        """The port of that name. Raises CannotError where the place has none."""
        for port in self.facts.ports:
            if port.name == name:
                return port
        there = ", ".join(port.name for port in self.facts.ports) or "none"
        raise CannotError(
            f"topology {self.topology.topology} needs port {name}, which this place does not have",
            hint=f"ports here: {there}; a lab host has all of them (--on labhost)",
        )

    def _network(self, nic: Nic, index: int) -> int:
        """One for each NIC of a guest, and others for each VLAN."""
        vlan = nic.vf.vlan if nic.vf else None
        if vlan is None:
            return index
        found = {other.vf.vlan for _, other, _ in self._nics() if other.vf and other.vf.vlan}
        return _NICS * (1 + sorted(found).index(vlan)) + index

    def _nics(self) -> Iterator[tuple[Guest, Nic, int]]:
        for guest in self.topology.guests:
            for index, nic in enumerate(guest.nics):
                yield guest, nic, index

    def _macs(self) -> list[str]:
        """One address for each NIC, in order: the device's, the file's, or one derived."""
        used = {port.mac for port in self.facts.ports}
        used |= {nic.mac for _, nic, _ in self._nics() if nic.mac}
        macs = []
        for guest, nic, index in self._nics():
            mac = self.port(nic.passthrough).mac if nic.passthrough else nic.mac
            if not mac:
                mac = _derived_mac(f"{self.facts.run}/{guest.name}/{nic_name(nic, index)}", used)
            used.add(mac)
            macs.append(mac)
        return self._paired(macs)

    def _paired(self, macs: list[str]) -> list[str]:
        """A primary has its standby's address: by that the guest's net_failover pairs them."""
        nics = [nic for _, nic, _ in self._nics()]
        standbys = [standby_of(guest, nic) for guest, nic, _ in self._nics()]
        return [
            next((macs[at] for at, nic in enumerate(nics) if nic is standby), mac)
            for mac, standby in zip(macs, standbys, strict=True)
        ]


def _standby_id(guest: Guest, nic: Nic) -> str:
    standby = standby_of(guest, nic)
    nics = enumerate(guest.nics)
    return next((nic_name(each, index) for index, each in nics if each is standby), "")


def _moved(seat: Seat, bridge: str, tap: str, vf: TargetVf | None) -> Seat:
    """A NIC of a failover pair on the other side; without ``vf`` the primary's place is empty."""
    if not seat.standby:
        return replace(seat, nic=seat.nic.model_copy(update={"bridge": bridge}), device=tap)
    there = Vf(port=vf.port, index=vf.index) if vf else None
    return replace(seat, nic=seat.nic.model_copy(update={"vf": there}))


def _address(network: int, number: int) -> str:
    return f"10.77.{network}.{number}"


def _derived_mac(seed: str, used: set[str]) -> str:
    """An address in QEMU's locally administered range that nobody in this topology has."""
    for attempt in range(256):
        digest = hashlib.sha256(f"{seed}/{attempt}".encode()).hexdigest()
        mac = f"52:54:00:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"
        if mac not in used:
            return mac
    raise AssertionError("64 NICs cannot use up 2^24 addresses")
