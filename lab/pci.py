"""PCI functions as sysfs shows them (Documentation/ABI/testing/sysfs-bus-pci); needs no root."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.data import Data

SYSFS = Path("/sys")
_BRIDGE_CLASS = 0x06
# Drivers that start no DMA of their own, so that a group may have them beside vfio-pci: those that
# set driver_managed_dma or are known to VFIO (Documentation/driver-api/vfio.rst).
_HARMLESS_DRIVERS = frozenset({"", "vfio-pci", "pci-stub", "pcieport"})


class PciFunction(Data):
    """One function of a PCI device.

    ``address`` and ``parent`` are full PCI addresses (``parent`` of a function on a root bus is
    that bus, such as ``pci0000:00``). ``kind`` is the class code (base, sub and interface, 24
    bits), ``model`` is ``VENDOR:DEVICE`` in hexadecimal. ``group`` is its IOMMU group, empty where
    no IOMMU is in use. ``netdevs`` are those in the namespace whose ``/sys`` was read. ``vfs`` is
    how many virtual functions it has made, of ``max_vfs``; ``physical`` is the function that made
    this one.
    """

    address: str
    parent: str
    kind: int
    model: str
    driver: str = ""
    group: str = ""
    netdevs: tuple[str, ...] = ()
    vfs: int = 0
    max_vfs: int = 0
    physical: str = ""

    @property
    def bridge(self) -> bool:
        """Whether it only leads to other functions."""
        return self.kind >> 16 == _BRIDGE_CLASS

    @property
    def viable(self) -> bool:
        """Whether another function of its group may be given to user space.

        For that nothing in the group may be with a driver of the host that does DMA for it.
        """
        return self.driver in _HARMLESS_DRIVERS


def read_functions(sysfs: Path = SYSFS) -> tuple[PciFunction, ...]:
    """All PCI functions of the machine, in order of address; none where there is no PCI."""
    folder = sysfs / "bus/pci/devices"
    addresses = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return tuple(_function(folder / address) for address in addresses)


def find_function(address: str, sysfs: Path = SYSFS) -> PciFunction | None:
    """The function of that address, None where there is none."""
    folder = sysfs / "bus/pci/devices" / address
    return _function(folder) if folder.exists() else None


def group_of(function: PciFunction, functions: Iterable[PciFunction]) -> tuple[PciFunction, ...]:
    """All functions that share its IOMMU group, itself among them."""
    return tuple(other for other in functions if other.group == function.group and other.group)


def iommu_width(address: str, sysfs: Path = SYSFS) -> int | None:
    """How many bits of address the function's IOMMU translates; None where it does not say.

    Intel's say in MGAW, bits 21 to 16 of the capability register (VT-d specification, 11.4.2).
    """
    try:
        text = (sysfs / "bus/pci/devices" / address / "iommu/intel-iommu/cap").read_text()
    except OSError:
        return None
    return (int(text, 16) >> 16 & 0x3F) + 1


def _function(folder: Path) -> PciFunction:
    return PciFunction(
        address=folder.name,
        parent=folder.resolve().parent.name,
        kind=int(_text(folder / "class") or "0", 16),
        model=":".join(_text(folder / part).removeprefix("0x") for part in ("vendor", "device")),
        driver=_target(folder / "driver"),
        group=_target(folder / "iommu_group"),
        # A virtio device stands between a function and its network device.
        netdevs=tuple(sorted(p.name for at in ("", "virtio*/") for p in folder.glob(f"{at}net/*"))),
        vfs=int(_text(folder / "sriov_numvfs") or 0),
        max_vfs=int(_text(folder / "sriov_totalvfs") or 0),
        physical=_target(folder / "physfn"),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""


def _target(link: Path) -> str:
    return link.readlink().name if link.is_symlink() else ""


def children(
    functions: Iterable[PciFunction],
) -> dict[str, tuple[PciFunction, ...]]:
    """What hangs below each bus, bridge or physical function, by its address.

    A virtual function stands below the function that made it, though it is beside it on the bus.
    """
    below: dict[str, tuple[PciFunction, ...]] = {}
    for function in functions:
        parent = function.physical or function.parent
        below[parent] = (*below.get(parent, ()), function)
    return below


def roots(functions: Iterable[PciFunction]) -> Iterator[str]:
    """The root buses (and whatever else that is no PCI function has functions below it)."""
    functions = tuple(functions)
    known = {function.address for function in functions}
    parents = (function.parent for function in functions if not function.physical)
    yield from dict.fromkeys(parent for parent in parents if parent not in known)
