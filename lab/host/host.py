"""The host as the run sees it: its namespaces, its links, its kernel."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from lab.errors import StartError
from lab.evidence.host import VfState
from lab.evidence.life import LinkState
from lab.host.addresses import Address, addresses
from lab.host.namespace import Namespaces, open_namespaces
from lab.plan.data import Place

_IFF_UP = 1
_RTMGRP_LINK = 1
_EXT_FILTER_VF = 1  # RTEXT_FILTER_VF, linux/rtnetlink.h
_ARPHRD_ETHER = 1


@dataclass(frozen=True)
class Link:
    """What must be the same after the undo. ``master`` is an interface index.

    Link-local addresses are not among the addresses.
    """

    up: bool
    mtu: int
    mac: str
    master: int | None
    addresses: tuple[Address, ...]


class Host:
    """Where the operations are carried out; one netlink socket per namespace."""

    def __init__(self, place: Place, namespaces: Namespaces, stack: ExitStack) -> None:
        self.place = place
        self.release = os.uname().release
        self._namespaces = namespaces
        self._stack = stack
        self._sockets: dict[str, IPRoute] = {}

    def inside(self, where: str) -> AbstractContextManager[None]:
        """Run a block in ``host`` or ``wire``: see `Namespaces.inside`."""
        return self._namespaces.inside(where)

    def netlink(self, where: str) -> Any:
        """The rtnetlink socket of a namespace (pyroute2's IPRoute)."""
        if where not in self._sockets:
            with self.inside(where):
                sock = IPRoute()
            self._stack.callback(sock.close)
            self._sockets[where] = sock
        return self._sockets[where]

    def index(self, where: str, device: str) -> int:
        """The interface index of a device. Raises StartError when there is no such device."""
        with self.inside(where):
            try:
                return socket.if_nametoindex(device)
            except OSError as error:
                raise StartError(f"there is no device {device} in {where}") from error

    def namespace_fd(self, where: str) -> int:
        """The open namespace, as netlink wants it for moving a device there."""
        return self._namespaces.fd(where)

    def exists(self, where: str, device: str) -> bool:
        """Whether a device of that name is there."""
        with self.inside(where):
            return device in (name for _index, name in socket.if_nameindex())

    def find_link(self, where: str, device: str) -> Link | None:
        """The device's state, None when there is no such device."""
        return self.link(where, device) if self.exists(where, device) else None

    def link(self, where: str, device: str) -> Link:
        """The device's state. Raises StartError when there is no such device."""
        index = self.index(where, device)
        message = self._message(where, index)
        its = addresses(self.netlink(where), index)
        return Link(
            up=bool(message["flags"] & _IFF_UP),
            mtu=message.get_attr("IFLA_MTU"),
            mac=message.get_attr("IFLA_ADDRESS"),
            master=message.get_attr("IFLA_MASTER"),
            addresses=tuple(each for each in its if not each.is_link_local),
        )

    def pci_devices(self, where: str) -> dict[str, str]:
        """The network devices that are PCI functions, by name, with their addresses."""
        return {
            message.get_attr("IFLA_IFNAME"): message.get_attr("IFLA_PARENT_DEV_NAME")
            for message in self.netlink(where).get_links()
            if message.get_attr("IFLA_PARENT_DEV_BUS_NAME") == "pci"
        }

    def vfs(self, where: str, device: str) -> tuple[VfState, ...]:
        """The virtual functions of a port, by its driver's word."""
        index = self.index(where, device)
        (message,) = self.netlink(where).link("get", index=index, ext_mask=_EXT_FILTER_VF)
        found = message.get_attr("IFLA_VFINFO_LIST")
        infos = found.get_attrs("IFLA_VF_INFO") if found else ()
        return tuple(_vf_state(device, info) for info in infos)

    def kinds(self, where: str) -> dict[str, str]:
        """What each device of a namespace is: ``bridge``, ``tap``, ``macvtap``, another of the
        kernel's words for a software device, or empty for a real NIC."""
        return {
            message.get_attr("IFLA_IFNAME"): _kind(message)
            for message in self.netlink(where).get_links()
        }

    def links(self, where: str) -> tuple[LinkState, ...]:
        """All devices of a namespace with their counters."""
        messages = list(self.netlink(where).get_links())
        names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in messages}
        return tuple(_link_state(where, message, names) for message in messages)

    def sysctl(self, where: str, name: str) -> str | None:
        """A setting below ``/proc/sys/net`` in a namespace; None where the kernel has none."""
        with self.inside(where):
            try:
                return (Path("/proc/sys/net") / name).read_text().strip()
            except FileNotFoundError:
                return None

    def set_sysctl(self, where: str, name: str, value: str) -> None:
        """Write a setting below ``/proc/sys/net``."""
        with self.inside(where):
            (Path("/proc/sys/net") / name).write_text(value)

    def wait_carrier(self, devices: Iterable[tuple[str, str]], timeout: float) -> None:
        """Wait until each (where, device) has a carrier.

        Raises StartError naming those that have none after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        for where, device in devices:
            self._wait_one_carrier(where, device, deadline)

    def _wait_one_carrier(self, where: str, device: str, deadline: float) -> None:
        index = self.index(where, device)
        with self.inside(where):
            news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with news:
            news.bind((0, _RTMGRP_LINK))
            while not self._message(where, index).get_attr("IFLA_CARRIER"):
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([news], [], [], left)[0]:
                    raise StartError(
                        f"{device} in {where} has no carrier",
                        hint="is the other end of the cable up?",
                    )
                news.recv(65536)

    def _message(self, where: str, index: int) -> Any:
        (message,) = self.netlink(where).get_links(index)
        return message


def _vf_state(device: str, info: Any) -> VfState:
    def setting(name: str) -> bool | None:
        found = info.get_attr(f"IFLA_VF_{name.upper()}")
        # All bits set is how a driver says nothing (struct ifla_vf_trust).
        return None if found is None or found[name] > 1 else bool(found[name])

    mac = info.get_attr("IFLA_VF_MAC")
    return VfState(
        device=device,
        index=mac["vf"],
        mac=mac["mac"],
        vlan=info.get_attr("IFLA_VF_VLAN")["vlan"],
        trust=setting("trust"),
        spoofchk=setting("spoofchk"),
    )


def _link_state(where: str, message: Any, names: Mapping[int, str]) -> LinkState:
    return LinkState(
        where=where,
        device=message.get_attr("IFLA_IFNAME"),
        mtu=message.get_attr("IFLA_MTU"),
        bridge=names.get(message.get_attr("IFLA_MASTER"), ""),
        counters=dict(message.get_attr("IFLA_STATS64")),
    )


def _kind(message: Any) -> str:
    information = message.get_attr("IFLA_LINKINFO")
    kind = information.get_attr("IFLA_INFO_KIND") if information else None
    # The driver tun makes both; only the one with Ethernet frames is a tap.
    ethernet = message["ifi_type"] == _ARPHRD_ETHER
    return "tap" if kind == "tun" and ethernet else kind or ""


@contextmanager
def open_host(place: Place, kept: Mapping[str, Path] | None = None) -> Iterator[Host]:
    """Yield the host of the place; ``kept`` as for `open_namespaces`.

    Raises CannotError where it cannot be had.
    """
    with ExitStack() as stack:
        namespaces = stack.enter_context(open_namespaces(place, kept))
        yield Host(place, namespaces, stack)
