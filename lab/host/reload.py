"""VFs by ``max_vfs``, the module parameter of older how-tos, and how many a port has.

The parameter is read when the module is loaded, and by every port of its driver. So the module is
loaded anew: all its ports vanish and come back, first as the kernel names them and in the first
namespace, and are then put back where they were, the tester's end of the cable too.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CannotError, StartError
from lab.host.host import Host, Link
from lab.host.links import restore
from lab.host.undo import UndoStack
from lab.pci import find_function, read_functions
from lab.plan.operations import AddVfs
from lab.plan.where import HOST, WIRE

_DEVICES = Path("/sys/bus/pci/devices")
_MODPROBE_D = Path("/etc/modprobe.d")
_MODPROBE_SECONDS = 60.0


@dataclass(frozen=True)
class _Port:
    """A network device of the driver, as it was; ``pci`` is what it is found again by."""

    pci: str
    where: str
    name: str
    link: Link


def load_with_vfs(host: Host, op: AddVfs, undos: UndoStack) -> None:
    """Load the driver of ``op.pci`` anew with ``max_vfs``; only that port keeps its VFs."""
    found = find_function(op.pci)
    driver = found.driver if found else ""
    if not driver:
        raise StartError(f"{op.pci} has no driver that could be loaded anew")
    ports = _ports(host, driver)
    undos.push(f"module {driver} as it was", lambda: _reload(host, driver, ports))
    setting = f"max_vfs={op.count}"
    if op.persist:
        file = _MODPROBE_D / f"hoplab-{driver}.conf"
        # Undone first: the module must not find it when it is loaded once more.
        undos.push(f"{file}", file.unlink)
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"options {driver} {setting}\n")
    _reload(host, driver, ports, *(() if op.persist else (setting,)), keep=op.pci)


def set_vf_count(pci: str, count: int) -> None:
    """Change how many VFs a port has; the kernel goes from one number to another only through 0."""
    file = _DEVICES / pci / "sriov_numvfs"
    if int(file.read_text()) != 0:
        file.write_text("0")
    if count:
        file.write_text(str(count))


def _reload(
    host: Host, driver: str, ports: Iterable[_Port], *settings: str, keep: str = ""
) -> None:
    ports = tuple(ports)
    _modprobe("-r", driver)
    _modprobe(driver, *settings)
    for function in read_functions():
        if function.driver == driver and function.vfs and function.address != keep:
            set_vf_count(function.address, 0)
    # In two steps: the name that one should have may be what the kernel called another.
    for number, port in enumerate(ports):
        _rename(host, _name(port.pci), f"reloaded{number}")
    for number, port in enumerate(ports):
        _rename(host, f"reloaded{number}", port.name)
        _put_back(host, port)


def _put_back(host: Host, port: _Port) -> None:
    if port.where != HOST:
        index = host.index(HOST, port.name)
        host.netlink(HOST).link("set", index=index, net_ns_fd=host.namespace_fd(port.where))
    restore(host, port.where, port.name, port.link)
    now = host.link(port.where, port.name)
    if now != port.link:
        raise StartError(f"{port.name} in {port.where} was {port.link}, is {now}")


def _ports(host: Host, driver: str) -> tuple[_Port, ...]:
    """All network devices of the driver's functions, in both namespaces."""
    functions = {each.address for each in read_functions() if each.driver == driver}
    return tuple(
        _Port(pci, where, name, host.link(where, name))
        for where in (HOST, WIRE)
        for name, pci in host.pci_devices(where).items()
        if pci in functions
    )


def _name(pci: str) -> str:
    found = find_function(pci)
    if found is None or len(found.netdevs) != 1:
        raise StartError(f"{pci} did not come back with its network device")
    return found.netdevs[0]


def _rename(host: Host, old: str, new: str) -> None:
    host.netlink(HOST).link("set", index=host.index(HOST, old), ifname=new)


def _modprobe(*arguments: str) -> None:
    argv = ["modprobe", *arguments]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_MODPROBE_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise CannotError("the program modprobe is not installed") from error
    if done.returncode:
        raise StartError(
            f"modprobe ended with status {done.returncode}",
            argv=argv,
            returncode=done.returncode,
            output=done.stderr,
        )
