"""Addresses of a device as the kernel has them, so that the same ones can be given again."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from lab.data import Data

_SCOPE_LINK = 253
_FOREVER = 0xFFFFFFFF
# linux/if_addr.h. The other flags are what the kernel found out about an address.
_SECONDARY, _NODAD, _HOMEADDRESS, _NOPREFIXROUTE, _MCAUTOJOIN = 0x1, 0x2, 0x10, 0x200, 0x400
_FLAGS = _SECONDARY | _NODAD | _HOMEADDRESS | _NOPREFIXROUTE | _MCAUTOJOIN
_ATTRIBUTES = ("address", "local", "broadcast", "label", "rt_priority", "proto")


class Address(Data):
    """One address by the words of rtnetlink(7): of two ends ``address`` is the far one."""

    family: int
    prefixlen: int
    scope: int
    flags: int
    address: str
    local: str | None
    broadcast: str | None
    label: str | None
    rt_priority: int | None
    proto: int | None
    forever: bool

    def __str__(self) -> str:
        return f"{self.local or self.address}/{self.prefixlen}"

    @property
    def is_ipv6(self) -> bool:
        """Whether it is of IPv6."""
        return self.family == socket.AF_INET6

    @property
    def is_link_local(self) -> bool:
        """Whether it is one that the kernel makes and drops by itself."""
        return self.is_ipv6 and self.scope == _SCOPE_LINK

    @property
    def is_without_route(self) -> bool:
        """Whether the kernel was told to make no route for it."""
        return bool(self.flags & _NOPREFIXROUTE)


def addresses(netlink: Any, index: int) -> tuple[Address, ...]:
    """All addresses of a device, in the kernel's order."""
    return tuple(_address(message) for message in netlink.get_addr(index=index))


def add_missing(netlink: Any, index: int, wanted: Iterable[Address]) -> None:
    """Give a device those of its addresses that it has lost, in the order in which it had them."""
    there = addresses(netlink, index)
    missing = [each for each in wanted if each not in there]
    # The kernel puts a new IPv6 address before the others of its scope.
    ipv4 = [each for each in missing if not each.is_ipv6]
    ipv6 = [each for each in reversed(missing) if each.is_ipv6]
    for each in (*ipv4, *ipv6):
        words = each.model_dump(exclude={"forever"}, exclude_none=True)
        # Not "add": the kernel may have made a link-local one meanwhile.
        netlink.addr("replace", index=index, **words)


def _address(message: Any) -> Address:
    lifetime = message.get_attr("IFA_CACHEINFO")
    return Address(
        family=message["family"],
        prefixlen=message["prefixlen"],
        scope=message["scope"],
        flags=message.get_attr("IFA_FLAGS") & _FLAGS,
        **{name: message.get_attr(f"IFA_{name.upper()}") for name in _ATTRIBUTES},
        forever=lifetime["ifa_valid"] == lifetime["ifa_preferred"] == _FOREVER,
    )
