"""Ports of the machine, lent to a run: moved into its namespaces, and back as they were.

    open_state folder/host, wire     the namespaces, each kept by a file (`lab.host.namespace.keep`)
    open_state folder/journal.json   where each port belongs and how it was, written before it moves

A port that somebody uses is refused, so that there is little to put back: state, MTU, MAC,
addresses and the settings below /proc/sys/net, all of which a device loses when it changes its
namespace. A namespace that is kept outlives SIGKILL, and a veth in it with it; what is still in the
journal then is put back by `give_back_orphans`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from lab.data import Data
from lab.errors import CannotError, LeftBehindError, UsageError
from lab.host.namespace import Namespaces, keep, let_go
from lab.host.offload import checksum_offload, set_checksum_offload
from lab.host.undo import reason
from lab.rundir import open_orphans, open_state

_PREFIX = "ports-"
_JOURNAL = "journal.json"
_HOME = "home"
_NET = Path("/sys/class/net")
_OWN = Path("/proc/thread-self/ns/net")
_SETTINGS = ("ipv4/conf", "ipv6/conf")
_IFF_UP, _IFF_LOOPBACK = 1, 8
_SCOPE_LINK = 253
_MAIN_TABLE = 254
# Those that come back by themselves (rtnetlink(7), linux/rtnetlink.h): the kernel's, and router
# advertisements.
_OWN_ROUTES = {2, 9}
# What the kernel gives a device by itself; any other queueing discipline is somebody's work.
_PLAIN_QDISCS = {"noop", "noqueue", "pfifo_fast", "fq_codel", "fq", "mq"}


class LentPort(Data):
    """A port as it was, and the place (``host`` or ``wire``) that it is lent to.

    ``settings`` are those below ``/proc/sys/net`` by their path. ``home`` is the inode of the
    namespace that it belongs to.
    """

    where: str
    name: str
    home: int
    up: bool
    mtu: int
    mac: str
    offload: bool
    addresses: tuple[str, ...]
    settings: dict[str, str]


@contextmanager
def lend(ports: Mapping[str, str]) -> Iterator[Mapping[str, Path]]:
    """Move each port (place to device) into a namespace of that name; yields the files of these.

    The ports are back afterwards. Raises what `inspect` raises, LeftBehindError.
    """
    with open_state(_PREFIX) as folder:
        lent = tuple(inspect(where, device) for where, device in ports.items())
        _write_journal(folder, lent)
        try:
            for port in lent:
                _lend(folder, port)
            yield {port.where: folder / port.where for port in lent}
        finally:
            _must(give_back(folder))


def inspect(where: str, device: str) -> LentPort:
    """The port as it is. Raises UsageError when there is none, CannotError when it is in use."""
    with IPRoute() as netlink:
        found = netlink.link_lookup(ifname=device)
        if not found:
            raise UsageError(
                f"there is no port {device}",
                hint="see `ip link`; `lab down --orphans` brings back what a killed run had",
            )
        (message,) = netlink.get_links(found[0])
        used = _used(netlink, message, device)
        if used:
            raise CannotError(f"port {device} is not lent: {used}", hint="name another port")
        return LentPort(
            where=where,
            name=device,
            home=_OWN.stat().st_ino,
            up=bool(message["flags"] & _IFF_UP),
            mtu=message.get_attr("IFLA_MTU"),
            mac=message.get_attr("IFLA_ADDRESS"),
            offload=checksum_offload(device),
            addresses=_addresses(netlink, found[0]),
            settings=_settings(device),
        )


def give_back(folder: Path) -> tuple[str, ...]:
    """Put back what the journal in ``folder`` names; returns what is not as it was, in words."""
    try:
        records = json.loads((folder / _JOURNAL).read_text())
    except FileNotFoundError:
        return ()
    failures: list[str] = []
    for port in map(LentPort.model_validate, records):
        try:
            failures += _give_back(folder, port)
        except (NetlinkError, OSError, CannotError) as error:
            failures.append(f"port {port.name}: {reason(error)}")
    if not failures:
        for port in map(LentPort.model_validate, records):
            let_go(folder / port.where)
        (folder / _JOURNAL).unlink()
    return tuple(failures)


def give_back_orphans() -> tuple[str, ...]:
    """Put back what killed runs had; returns the names of the ports. Raises LeftBehindError."""
    names: list[str] = []
    with open_orphans(_PREFIX) as folders:
        for folder in folders:
            with suppress(FileNotFoundError):
                names += [port["name"] for port in json.loads((folder / _JOURNAL).read_text())]
            _must(give_back(folder))
    return tuple(names)


def _used(netlink: Any, message: Any, device: str) -> str:
    """Who uses the port, as a sentence; empty when nobody does."""
    routes = [
        route
        for route in netlink.get_routes(oif=message["index"])
        if route.get_attr("RTA_OIF") == message["index"] and route["table"] == _MAIN_TABLE
    ]
    above = [path.name.removeprefix("upper_") for path in (_NET / device).glob("upper_*")]
    qdisc = message.get_attr("IFLA_QDISC")
    reasons = {
        "it carries the machine's default route": any(route["dst_len"] == 0 for route in routes),
        f"routes lead over it (ip route show dev {device})": any(
            route["proto"] not in _OWN_ROUTES for route in routes
        ),
        "it is the loopback device": message["flags"] & _IFF_LOOPBACK,
        "it is a port of a bridge or bond": message.get_attr("IFLA_MASTER"),
        f"{', '.join(sorted(above))} stands on it": above,
        f"it has a queueing discipline of its own ({qdisc})": qdisc not in _PLAIN_QDISCS,
    }
    return next((reason for reason, true in reasons.items() if true), "")


def _lend(folder: Path, port: LentPort) -> None:
    keep(folder / port.where)
    target = os.open(folder / port.where, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with IPRoute() as netlink:
            _move(netlink, port.name, target)
    except NetlinkError as error:
        raise CannotError(
            f"port {port.name} cannot be moved into a namespace: {reason(error)}",
            hint="name another port",
        ) from error
    finally:
        os.close(target)


def _give_back(folder: Path, port: LentPort) -> tuple[str, ...]:
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(home).st_ino != port.home:
            raise CannotError("it belongs to another network namespace than this one")
        _bring(folder / port.where, port.name, home)
    finally:
        os.close(home)
    with IPRoute() as netlink:
        _restore(netlink, port)
    now = inspect(port.where, port.name)
    return tuple(
        f"port {port.name}: {field} was {getattr(port, field)}, is {getattr(now, field)}"
        for field in ("up", "mtu", "mac", "offload", "addresses", "settings")
        if getattr(now, field) != getattr(port, field)
    )


def _bring(file: Path, name: str, home: int) -> None:
    """Move the port home if it is where it was lent to; a run that died early never moved it."""
    try:
        lent = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not _is_namespace(lent):
            return
        with Namespaces({_HOME: home, "lent": lent}).inside("lent"), IPRoute() as netlink:
            if netlink.link_lookup(ifname=name):
                _move(netlink, name, home)
    finally:
        os.close(lent)


def _is_namespace(fd: int) -> bool:
    """Whether a namespace is mounted on the file, rather than the file being empty still."""
    return os.fstat(fd).st_dev == _OWN.stat().st_dev


def _move(netlink: Any, name: str, namespace: int) -> None:
    (index,) = netlink.link_lookup(ifname=name)
    netlink.link("set", index=index, net_ns_fd=namespace)


def _restore(netlink: Any, port: LentPort) -> None:
    found = netlink.link_lookup(ifname=port.name)
    if not found:
        raise CannotError("it is gone")
    (index,) = found
    netlink.link("set", index=index, address=port.mac, mtu=port.mtu)
    if checksum_offload(port.name) != port.offload:
        set_checksum_offload(port.name, offload=port.offload)
    now = _settings(port.name)
    for name, value in port.settings.items():
        if now.get(name) != value:
            (Path("/proc/sys/net") / name).write_text(value)
    netlink.link("set", index=index, state="up" if port.up else "down")
    for cidr in sorted(set(port.addresses) - set(_addresses(netlink, index))):
        interface = ip_interface(cidr)
        netlink.addr(
            "add", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen
        )


def _addresses(netlink: Any, index: int) -> tuple[str, ...]:
    """Without link-local ones, which the kernel makes and drops by itself."""
    messages = netlink.get_addr(index=index)
    return tuple(
        sorted(
            f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
            for message in messages
            if message["scope"] != _SCOPE_LINK
        )
    )


def _settings(device: str) -> dict[str, str]:
    """What can be read and written again of the device below /proc/sys/net."""
    settings = {}
    for group in _SETTINGS:
        for file in sorted((Path("/proc/sys/net") / group / device).glob("*")):
            if file.is_file() and file.stat().st_mode & 0o200:
                with suppress(OSError):
                    settings[f"{group}/{device}/{file.name}"] = file.read_text().strip()
    return settings


def _write_journal(folder: Path, ports: tuple[LentPort, ...]) -> None:
    text = json.dumps([port.model_dump() for port in ports])
    with (folder / _JOURNAL).open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _must(failures: tuple[str, ...]) -> None:
    if failures:
        raise LeftBehindError("; ".join(failures), hint="lab down --orphans tries again")
