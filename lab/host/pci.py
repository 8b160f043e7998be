"""PCI functions: virtual functions of a port (SR-IOV) and their way to vfio-pci and back.

Orders and traps are those of Documentation/PCI/pci-iov-howto.rst and driver-api/vfio.rst in the
kernel's tree: ``sriov_numvfs`` goes from N to M only through 0, and a MAC that the PF gives its VF
has to be there before the VF's driver loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.errors import CannotError, StartError
from lab.host.host import Host, Link
from lab.host.links import restore, set_up
from lab.host.refusal import refuse_group
from lab.host.reload import load_with_vfs, set_vf_count
from lab.host.undo import UndoStack
from lab.pci import find_function
from lab.plan.operations import AddVfs, BindVfio, LinkUp, SetVf
from lab.plan.where import HOST

_DEVICES = Path("/sys/bus/pci/devices")
_DRIVERS = Path("/sys/bus/pci/drivers")
_PROBE = Path("/sys/bus/pci/drivers_probe")


@dataclass(frozen=True)
class Function:
    """What must be the same of a PCI function after the undo."""

    driver: str
    vfs: int
    links: tuple[tuple[str, Link], ...]


def function(host: Host, pci: str) -> Function | None:
    """The state of the PCI function with that full address; None when there is none."""
    found = find_function(pci)
    if found is None:
        return None
    return Function(
        driver=found.driver,
        vfs=found.vfs,
        links=tuple((name, host.link(HOST, name)) for name in found.netdevs),
    )


def add_vfs(host: Host, op: AddVfs, undos: UndoStack) -> None:
    """The port has to be up: its VFs see a port that is down as one still in reset."""
    file = _DEVICES / op.pci / "sriov_numvfs"
    if not file.exists():
        raise CannotError(f"{op.device} ({op.pci}) has no virtual functions (SR-IOV)")
    if op.create == "max_vfs":
        load_with_vfs(host, op, undos)
        return
    set_up(host, LinkUp(device=op.device, where=op.where), undos)
    before = int(file.read_text())
    undos.push(f"{before} VFs on {op.device}", lambda: set_vf_count(op.pci, before))
    set_vf_count(op.pci, op.count)


def set_vf(host: Host, op: SetVf, undos: UndoStack) -> None:
    """The settings vanish with the VF, so there is nothing to put back."""
    del undos
    settings: dict[str, object] = {"vf": op.index, "mac": op.mac}
    if op.vlan is not None:
        settings["vlan"] = op.vlan
    if op.trust is not None:
        settings["trust"] = int(op.trust)
    if op.spoofchk is not None:
        settings["spoofchk"] = int(op.spoofchk)
    index = host.index(op.where, op.device)
    host.netlink(op.where).link("set", index=index, vf=settings)


def bind_vfio(host: Host, op: BindVfio, undos: UndoStack) -> None:
    """``driver_override`` makes vfio-pci take this function and no other of the same model."""
    refuse_group(op.pci)  # a VF has a group only since it was made
    if not (_DRIVERS / "vfio-pci").exists():
        raise CannotError("the kernel has no driver vfio-pci", hint="modprobe vfio-pci")
    before = function(host, op.pci)
    assert before is not None
    undos.push(f"driver of {op.pci}", lambda: _give_back(host, op.pci, before))
    _rebind(op.pci, "vfio-pci", "vfio-pci")


def _give_back(host: Host, pci: str, before: Function) -> None:
    """The driver makes its devices anew: down, and with the first names that are free."""
    _rebind(pci, "", before.driver)
    found = find_function(pci)
    names = found.netdevs if found else ()
    if len(names) != len(before.links):
        raise StartError(f"{pci} has {', '.join(names) or 'no network device'}")
    for now, (name, link) in zip(names, before.links, strict=True):
        if now != name:
            host.netlink(HOST).link("set", index=host.index(HOST, now), ifname=name)
        restore(host, HOST, name, link)


def _rebind(pci: str, override: str, expected: str) -> None:
    """Let go of the driver and probe anew; raise StartError when another one took it."""
    folder = _DEVICES / pci
    if _driver(pci):
        (folder / "driver" / "unbind").write_text(pci)
    (folder / "driver_override").write_text(f"{override}\n")
    if expected:
        _PROBE.write_text(pci)
    if _driver(pci) != expected:
        raise StartError(f"{pci} is with driver {_driver(pci) or 'none'}, not {expected or 'none'}")


def _driver(pci: str) -> str:
    found = find_function(pci)
    return found.driver if found else ""
