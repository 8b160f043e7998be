"""What keeps a PCI device with the host, decided from facts alone."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from lab.host.refusal import (
    Circumstances,
    available,
    cpu_width,
    default_devices,
    lockable,
    refusals,
)
from lab.pci import PciFunction

MIB = 1 << 20
PORT = PciFunction(
    address="0000:01:00.0",
    parent="0000:00:10.0",
    kind=0x020000,
    model="8086:10c9",
    driver="igb",
    group="12",
    netdevs=("eth0",),
)
BRIDGE = PORT.model_copy(
    update={"address": "0000:00:10.0", "kind": 0x060400, "driver": "pcieport", "netdevs": ()}
)
DISK = PORT.model_copy(update={"address": "0000:00:1f.2", "driver": "ahci", "netdevs": ()})

GOOD = Circumstances(
    function=PORT,
    group=(BRIDGE, PORT),
    routed=frozenset({"eth9"}),
    lockable=None,
    available=None,
    width=48,
    cpu_width=40,
)


def said(**changes: Any) -> list[str]:
    now = Circumstances(**{**vars(GOOD), **changes})
    return [error.message for error in refusals(now, PORT.address, 128)]


def test_nothing_against_it() -> None:
    assert said() == []
    assert said(lockable=128 * MIB) == []
    assert said(available=128 * MIB) == []
    assert said(width=40) == []
    assert said(width=None) == []


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("carries this machine's default route", {"routed": frozenset({"eth0"})}),
        ("with 0000:00:1f.2 (driver ahci): the group is not viable", {"group": (PORT, DISK)}),
        ("has no IOMMU group", {"function": PORT.model_copy(update={"group": ""}), "group": ()}),
        ("128 MiB have to be locked in memory, and RLIMIT_MEMLOCK allows 8", {"lockable": 8 * MIB}),
        ("128 MiB have to be locked in memory, and this host has 64", {"available": 64 * MIB}),
        ("addresses of 39 bits, the guest's have up to 40", {"width": 39}),
    ],
)
def test_each_reason_alone(words: str, changes: dict[str, Any]) -> None:
    (message,) = said(**changes)
    assert words in message


def test_a_function_that_is_not_made_yet_is_judged_by_its_port_and_the_guest() -> None:
    assert said(function=None, group=()) == []
    assert len(said(function=None, group=(), width=39, lockable=0)) == 2


@pytest.mark.parametrize(
    ("capabilities", "limit", "allowed"),
    [
        ("000001ffffffffff", 8192, None),
        ("0000000000004000", 8192, None),
        ("000001ffffffbfff", 8192, 8192),
        ("0000000000000000", resource.RLIM_INFINITY, None),
    ],
)
def test_lockable(capabilities: str, limit: int, allowed: int | None) -> None:
    assert lockable(f"Name:\tlab\nCapEff:\t{capabilities}\n", limit) == allowed


def test_available() -> None:
    assert available("MemTotal:  4 kB\nMemAvailable:    2048 kB\n") == 2 * MIB
    assert available("MemTotal:  4 kB\n") is None


def test_cpu_width() -> None:
    assert cpu_width("address sizes\t: 40 bits physical, 48 bits virtual\n") == 40
    assert cpu_width("processor: 0\n") is None


ROUTE = """Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
ZERO = "0" * 32
ROUTE6 = f"""{ZERO} 00 {ZERO} 00 fe80{"0" * 28} 00000400 00000001 00000000 00000003     eth2
{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo
fe80{"0" * 28} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth3
"""


def test_default_routes() -> None:
    assert default_devices(ROUTE, ROUTE6) == {"eth0", "eth2"}
    assert default_devices("", "") == frozenset()
