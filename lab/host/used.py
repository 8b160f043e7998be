"""Who uses a port of the machine: what would miss it, or would not come back with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.host.addresses import Address, addresses

_NET = Path("/sys/class/net")
_IFF_LOOPBACK = 8
# Those that come back by themselves (rtnetlink(7), linux/rtnetlink.h): the kernel's, and router
# advertisements.
_OWN_ROUTES = {2, 9}


def used(netlink: Any, index: int) -> str:
    """Who uses the port, as a sentence; empty when nobody does."""
    (message,) = netlink.get_links(index)
    device = message.get_attr("IFLA_IFNAME")
    above = [path.name.removeprefix("upper_") for path in (_NET / device).glob("upper_*")]
    reasons = {
        "it is the loopback device": message["flags"] & _IFF_LOOPBACK,
        "it is a port of a bridge or bond": message.get_attr("IFLA_MASTER"),
        f"{', '.join(sorted(above))} stands on it": above,
    }
    found = next((reason for reason, true in reasons.items() if true), "")
    its = addresses(netlink, index)
    return (
        found
        or _routed(netlink, device, index, its)
        or _queued(netlink, device, index)
        or _addressed(its)
    )


def _routed(netlink: Any, device: str, index: int, its: Sequence[Address]) -> str:
    """Routes of all tables, those of several hops too, and those that leave by its addresses."""
    own = {each.local or each.address for each in its}
    for route in netlink.get_routes():
        over = index in _hops(route)
        if over and route["dst_len"] == 0:
            return "it carries a default route of the machine"
        if route["proto"] not in _OWN_ROUTES and (over or route.get_attr("RTA_PREFSRC") in own):
            return f"routes lead over it (ip route show table all | grep {device})"
    return ""


def _hops(route: Any) -> Iterator[int | None]:
    """The devices that a route leads over, by their indexes."""
    yield route.get_attr("RTA_OIF")
    yield from (hop["oif"] for hop in route.get_attr("RTA_MULTIPATH") or ())


def _queued(netlink: Any, device: str, index: int) -> str:
    """What the kernel gives a device by itself has no handle, whatever its kind."""
    for qdisc in netlink.get_qdiscs(index=index):
        if qdisc["index"] == index and qdisc["handle"]:
            return f"it has a queueing discipline of its own ({qdisc.get_attr('TCA_KIND')})"
    if any(netlink.get_filters(index=index)):
        return f"it has packet filters of its own (tc filter show dev {device})"
    return ""


def _addressed(its: Sequence[Address]) -> str:
    for each in its:
        if not each.forever:
            return f"its address {each} has a lifetime: somebody renews it"
        if each.is_without_route:
            return f"its address {each} has noprefixroute: somebody keeps its routes"
    return ""
