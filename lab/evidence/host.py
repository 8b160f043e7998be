"""The host's network devices and virtual functions."""

from __future__ import annotations

from lab.data import Data


class Device(Data):
    """A network device of the host. ``kind`` is ``bridge``, ``tap``, ``macvtap``, another of the
    kernel's words, or empty for one that has none (a real NIC)."""

    name: str
    kind: str = ""


class VfState(Data):
    """A virtual function as its port's driver says it is (IFLA_VF_INFO, linux/if_link.h).

    ``vlan`` is 0 where it has none. ``trust`` and ``spoofchk`` are ``None`` where not told.
    """

    device: str
    index: int
    mac: str
    vlan: int
    trust: bool | None
    spoofchk: bool | None


class MacAttempt(Data):
    """A guest's try to give its VF another address: what its kernel said, and what it was after.

    ``status`` is that of ip(8). ``guest_mac`` is the guest's address afterwards, ``port_mac`` what
    the port's driver then said of the VF.
    """

    guest: str
    nic: str
    wanted: str
    status: int
    said: str
    guest_mac: str
    port_mac: str
