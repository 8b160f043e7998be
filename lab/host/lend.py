"""Ports of the machine, lent to a run: moved into its namespaces, and back as they were.

    open_state folder/host, wire     the namespaces, each kept by a file (`lab.host.namespace.keep`)
    open_state folder/journal.json   where each port belongs and how it was, written before it moves

A port that somebody uses is refused (`lab.host.used`), so that there is little to put back: state,
MTU, MAC, addresses and the settings below /proc/sys/net, all of which a device loses when it
changes its namespace. A namespace that is kept outlives SIGKILL, and a veth in it with it; what is
still in the journal then is put back by `give_back_orphans`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from lab.data import Data
from lab.errors import CannotError, LabError, LeftBehindError, UsageError
from lab.host.addresses import Address, add_missing, addresses
from lab.host.namespace import Namespaces, keep, let_go
from lab.host.offload import checksum_offload, set_checksum_offload
from lab.host.undo import reason
from lab.host.used import used
from lab.rundir import open_orphans, open_state
from lab.signals import held

_PREFIX = "ports-"
_JOURNAL = "journal.json"
_UNFINISHED = "journal.new"
_HOME = "home"
_OWN = Path("/proc/thread-self/ns/net")
_SETTINGS = ("ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh")
_IFF_UP = 1


class LentPort(Data):
    """A port as it was, and the place (``host`` or ``wire``) that it is lent to.

    ``settings`` are those below ``/proc/sys/net`` by their path. ``home`` is the inode of the
    namespace that it belongs to, ``index`` its interface index there.
    """

    where: str
    name: str
    home: int
    index: int
    up: bool
    mtu: int
    mac: str
    offload: bool
    addresses: tuple[Address, ...]
    settings: dict[str, str]


_PORTS = TypeAdapter(tuple[LentPort, ...])


@dataclass(frozen=True)
class Returned:
    """What came of putting ports back: the names of those that are, and what is not, in words.

    ``folders`` are those of `open_state` that still say how it was.
    """

    names: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

    def check(self) -> None:
        """Raise LeftBehindError for all that is not as it was."""
        if self.failures:
            forget = "; ".join(f"umount -q {each}/*; rm -r {each}" for each in self.folders)
            raise LeftBehindError(
                "; ".join(self.failures),
                hint=f"lab down --orphans tries again; to have it forgotten: {forget}",
            )


@contextmanager
def lend(ports: Mapping[str, str]) -> Iterator[Mapping[str, Path]]:
    """Move each port (place to device) into a namespace of that name; yields the files of these.

    The ports are back afterwards. Raises what `inspect` raises, LeftBehindError.
    """
    with open_state(_PREFIX) as folder:
        try:
            with held():
                lent = tuple(inspect(where, device) for where, device in ports.items())
                _write_journal(folder, lent)
                for port in lent:
                    _lend(folder, port)
            yield {port.where: folder / port.where for port in lent}
        finally:
            give_back(folder).check()


def inspect(where: str, device: str) -> LentPort:
    """The port as it is. Raises UsageError when there is none, CannotError when it is in use."""
    with IPRoute() as netlink:
        found = netlink.link_lookup(ifname=device)
        if not found:
            raise UsageError(
                f"there is no port {device}",
                hint="see `ip link`; `lab down --orphans` brings back what a killed run had",
            )
        if use := used(netlink, found[0]):
            raise CannotError(f"port {device} is not lent: {use}", hint="name another port")
        return _look(netlink, where, found[0])


def give_back(folder: Path) -> Returned:
    """Put back what the journal in ``folder`` names; Ctrl-C waits until that is done."""
    with held():
        try:
            ports = _read_journal(folder)
        except CannotError as error:
            return Returned(failures=(error.message,), folders=(folder,))
        failures = tuple(text for port in ports for text in _tried(folder, port))
        if failures:
            return Returned(failures=failures, folders=(folder,))
        for name in (_JOURNAL, _UNFINISHED):
            (folder / name).unlink(missing_ok=True)
        return Returned(names=tuple(port.name for port in ports))


def give_back_orphans() -> Returned:
    """Put back what killed runs had; what one of them keeps from it keeps no other."""
    with open_orphans(_PREFIX) as folders:
        all_ = [give_back(folder) for folder in folders]
    return Returned(
        names=tuple(name for each in all_ for name in each.names),
        failures=tuple(text for each in all_ for text in each.failures),
        folders=tuple(folder for each in all_ for folder in each.folders),
    )


def _look(netlink: Any, where: str, index: int) -> LentPort:
    (message,) = netlink.get_links(index)
    device = message.get_attr("IFLA_IFNAME")
    return LentPort(
        where=where,
        name=device,
        home=_OWN.stat().st_ino,
        index=index,
        up=bool(message["flags"] & _IFF_UP),
        mtu=message.get_attr("IFLA_MTU"),
        mac=message.get_attr("IFLA_ADDRESS"),
        offload=checksum_offload(device),
        addresses=addresses(netlink, index),
        settings=_settings(device),
    )


def _lend(folder: Path, port: LentPort) -> None:
    keep(folder / port.where)
    target = os.open(folder / port.where, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with IPRoute() as netlink:
            netlink.link("set", index=port.index, net_ns_fd=target)
    except NetlinkError as error:
        raise CannotError(
            f"port {port.name} cannot be moved into a namespace: {reason(error)}",
            hint="name another port",
        ) from error
    finally:
        os.close(target)


def _tried(folder: Path, port: LentPort) -> tuple[str, ...]:
    """Put one port back; what is not as it was, in words."""
    try:
        failures = _give_back(folder / port.where, port)
    except (NetlinkError, OSError, LabError) as error:
        failures = (reason(error),)
    if not failures:
        let_go(folder / port.where)
    return tuple(f"port {port.name}: {text}" for text in failures)


def _give_back(file: Path, port: LentPort) -> tuple[str, ...]:
    """A port without a namespace was never lent, or is back: it is its owner's business."""
    if not _is_namespace(file):
        return ()
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(home).st_ino != port.home:
            raise CannotError("it belongs to another network namespace than this one")
        brought = _bring(file, port.name, home)
    finally:
        os.close(home)
    with IPRoute() as netlink:
        found = netlink.link_lookup(ifname=port.name)
        if not found:
            raise CannotError("it is gone")
        if not brought:
            _check_ours(netlink, found[0], port)
        _restore(netlink, found[0], port)
        return _differences(port, _look(netlink, port.where, found[0]))


def _bring(file: Path, name: str, home: int) -> bool:
    """Move the port home if it is where it was lent to; whether it was."""
    lent = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Namespaces({_HOME: home, "lent": lent}).inside("lent"), IPRoute() as netlink:
            found = netlink.link_lookup(ifname=name)
            if found:
                netlink.link("set", index=found[0], net_ns_fd=home)
    except NetlinkError as error:
        raise CannotError(f"it cannot be moved home: {reason(error)}") from error
    finally:
        os.close(lent)
    return bool(found)


def _check_ours(netlink: Any, index: int, port: LentPort) -> None:
    """Raise CannotError for a device at home that somebody has taken care of meanwhile."""
    if index != port.index:
        raise CannotError("another device has its name now, which is left as it is")
    use = used(netlink, index)
    if use and _differences(port, _look(netlink, port.where, index)):
        raise CannotError(f"it is at home and left as it is, for it is in use: {use}")


def _is_namespace(file: Path) -> bool:
    """Whether a namespace is mounted on the file, rather than the file being empty still."""
    return file.exists() and file.stat().st_dev == _OWN.stat().st_dev


def _restore(netlink: Any, index: int, port: LentPort) -> None:
    now = _look(netlink, port.where, index)
    if now.mac != port.mac:
        netlink.link("set", index=index, address=port.mac)
    if now.mtu != port.mtu:
        netlink.link("set", index=index, mtu=port.mtu)
    if now.offload != port.offload:
        set_checksum_offload(port.name, offload=port.offload)
    now = _look(netlink, port.where, index)
    for name, value in port.settings.items():
        if now.settings.get(name) != value:
            (Path("/proc/sys/net") / name).write_text(value)
    if now.up != port.up:
        netlink.link("set", index=index, state="up" if port.up else "down")
    add_missing(netlink, index, port.addresses)


def _differences(port: LentPort, now: LentPort) -> tuple[str, ...]:
    """What is not as it was, in words. The kernel may make more link-local addresses."""
    its = [each for each in now.addresses if each in port.addresses or not each.is_link_local]
    pairs = {
        "up": (port.up, now.up),
        "mtu": (port.mtu, now.mtu),
        "mac": (port.mac, now.mac),
        "offload": (port.offload, now.offload),
        "addresses": (port.addresses, tuple(its)),
        **{name: (value, now.settings.get(name)) for name, value in port.settings.items()},
    }
    return tuple(f"{name} was {was}, is {is_}" for name, (was, is_) in pairs.items() if was != is_)


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
    """It is there as a whole or not at all. Raises CannotError."""
    unfinished = folder / _UNFINISHED
    try:
        with unfinished.open("wb") as file:
            file.write(_PORTS.dump_json(ports))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / _JOURNAL)
    except OSError as error:
        raise CannotError(
            f"the journal of the lent ports cannot be written: {error.strerror}",
            hint=f"make room in {folder.parent}",
        ) from error


def _read_journal(folder: Path) -> tuple[LentPort, ...]:
    """The ports of a run; none where it ended before it wrote down any. Raises CannotError."""
    file = folder / _JOURNAL
    try:
        return _PORTS.validate_json(file.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        waiting = ", ".join(f"nsenter --net={each} ip link" for each in _kept(folder))
        raise CannotError(
            f"{file} does not say which ports were lent"
            + (f"; what waits there is shown by: {waiting}" if waiting else "")
        ) from error


def _kept(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if _is_namespace(file)]
