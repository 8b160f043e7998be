"""Which network devices a namespace has, and what they are."""

from __future__ import annotations

import socket
from pathlib import Path

from lab.evidence import Device

_SYSFS = Path("/sys/class/net")


def devices() -> tuple[Device, ...]:
    """Those of the namespace that the calling thread is in; ``/sys`` has to show the same one."""
    return tuple(
        Device(name=name, kind=_kind(name)) for _index, name in sorted(socket.if_nameindex())
    )


def _kind(name: str) -> str:
    """The kernel's DEVTYPE (bridge, macvtap, vlan ...); a tap has none, but flags of its own."""
    folder = _SYSFS / name
    if (folder / "tun_flags").exists():
        return "tap"
    words = dict(line.split("=", 1) for line in (folder / "uevent").read_text().splitlines())
    return words.get("DEVTYPE", "")
