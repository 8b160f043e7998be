"""Why a PCI device cannot be given away, decided before anything is touched.

The kernel and QEMU refuse some of these too, but late and in other words; a default route they
would take down without a word.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CannotError
from lab.host.host import Host
from lab.pci import PciFunction, find_function, group_of, iommu_width, read_functions
from lab.plan.data import Place
from lab.plan.operations import AddVfs, BindVfio, Operation
from lab.plan.where import HOST

_MIB = 1 << 20
_CAP_IPC_LOCK = 14  # linux/capability.h
_PROC = Path("/proc")
_NET = Path("/sys/class/net")
_DEFAULT_V6 = re.compile(r"0{32} 00 0{32} 00 .* (\S+)$")


@dataclass(frozen=True)
class Circumstances:
    """What decides whether a function can be given to a guest.

    ``function`` is None where it does not exist yet (a VF that is to be made), then ``group`` is
    empty. ``routed`` are the devices that carry a default route, with all that these stand on.
    ``lockable`` is how many bytes QEMU may lock, None without a limit, ``available`` how many
    there are to be had, None where the kernel does not say. ``width`` and ``cpu_width``
    are the bits of address that the function's IOMMU translates and that the CPU has, None where
    it does not say.
    """

    function: PciFunction | None
    group: tuple[PciFunction, ...]
    routed: frozenset[str]
    lockable: int | None
    available: int | None
    width: int | None
    cpu_width: int | None


def refuse_early(host: Host, operations: Iterable[Operation]) -> None:
    """Raise CannotError for what cannot be done with a PCI device, before the first operation."""
    operations = tuple(operations)
    for operation in operations:
        if isinstance(operation, BindVfio):
            circumstances = _look(host, operation.pci, operations)
            _raise(refusals(circumstances, operation.pci, operation.memory))
        elif isinstance(operation, AddVfs) and operation.create == "max_vfs":
            _raise(_unloadable(host, operation))


def refuse_group(pci: str) -> None:
    """Raise CannotError where the function's IOMMU group cannot be given to a guest as it is."""
    functions = read_functions()
    found = next((each for each in functions if each.address == pci), None)
    _raise(_group_refusals(found, group_of(found, functions) if found else (), pci))


def refusals(now: Circumstances, pci: str, memory: int) -> Iterator[CannotError]:
    """Every reason against giving ``pci`` to a guest of ``memory`` MiB; none is good."""
    routed = now.routed.intersection(now.function.netdevs if now.function else ())
    if routed:
        yield CannotError(
            f"{pci} is {', '.join(sorted(routed))}, which carries this machine's default route",
            hint="give another port away: this one's loss would cut the machine off",
        )
    if now.function is not None:
        yield from _group_refusals(now.function, now.group, pci)
    if now.lockable is not None and now.lockable < memory * _MIB:
        yield CannotError(
            f"{pci}: the guest's {memory} MiB have to be locked in memory, and RLIMIT_MEMLOCK "
            f"allows {now.lockable // _MIB} MiB",
            hint=f"ulimit -l {memory * 1024 + 65536} (in KiB), or keep CAP_IPC_LOCK",
        )
    if now.available is not None and now.available < memory * _MIB:
        yield CannotError(
            f"{pci}: the guest's {memory} MiB have to be locked in memory, and this host has "
            f"{now.available // _MIB} MiB left",
            hint="give the guest less: memory",
        )
    if now.width is not None and now.cpu_width is not None and now.width < now.cpu_width:
        yield CannotError(
            f"{pci}: its IOMMU translates addresses of {now.width} bits, the guest's have up to "
            f"{now.cpu_width}",
            hint="a virtual IOMMU can be made wider: intel-iommu,aw-bits=48",
        )


def _raise(errors: Iterable[CannotError]) -> None:
    for error in errors:
        raise error


def _group_refusals(
    function: PciFunction | None, group: Iterable[PciFunction], pci: str
) -> Iterator[CannotError]:
    if function is None:
        yield CannotError(f"there is no PCI function {pci}", hint="lab pci shows those there are")
        return
    if not function.group:
        yield CannotError(
            f"{pci} has no IOMMU group, so it cannot be passed through",
            hint="boot with intel_iommu=on or amd_iommu=on, and enable VT-d or AMD-Vi in the BIOS",
        )
    others = [each for each in group if each.address != pci and not each.viable]
    if others:
        shown = ", ".join(f"{each.address} (driver {each.driver})" for each in others)
        yield CannotError(
            f"{pci} shares IOMMU group {function.group} with {shown}: the group is not viable",
            hint="take another slot, or unbind these as well (lab pci shows the groups)",
        )


def _unloadable(host: Host, operation: AddVfs) -> Iterator[CannotError]:
    if host.place is Place.HERE:
        yield CannotError(
            f"{operation.device}: max_vfs means to load its driver anew, which takes all its ports "
            "away from this machine for a moment",
            hint="use create: sysfs, or --on labhost",
        )


def _look(host: Host, pci: str, operations: Iterable[Operation]) -> Circumstances:
    function = find_function(pci)
    functions = read_functions() if function else ()
    makers = (each.pci for each in operations if isinstance(each, AddVfs))
    at = pci if function else next(makers, pci)
    return Circumstances(
        function=function,
        group=group_of(function, functions) if function else (),
        routed=_routed(host),
        lockable=lockable(
            (_PROC / "self/status").read_text(), resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        ),
        available=available((_PROC / "meminfo").read_text()),
        width=iommu_width(at),
        cpu_width=cpu_width((_PROC / "cpuinfo").read_text()),
    )


def lockable(status: str, limit: int) -> int | None:
    """How many bytes may be locked: ``limit``, unless ``status`` (proc_pid_status(5)) shows
    CAP_IPC_LOCK. None is without a limit."""
    found = re.search(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)
    capable = found is not None and bool(int(found[1], 16) >> _CAP_IPC_LOCK & 1)
    return None if capable or limit == resource.RLIM_INFINITY else limit


def available(meminfo: str) -> int | None:
    """How many bytes the kernel could give without swapping, from proc_meminfo(5)."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else None


def cpu_width(cpuinfo: str) -> int | None:
    """The bits of physical address that a guest with ``-cpu host`` has, from /proc/cpuinfo."""
    found = re.search(r"^address sizes\s*: (\d+) bits physical", cpuinfo, re.MULTILINE)
    return int(found[1]) if found else None


def default_devices(route: str, ipv6_route: str) -> frozenset[str]:
    """The devices of all default routes, from proc_pid_net(5)'s ``route`` and ``ipv6_route``."""
    rows = [line.split() for line in route.splitlines()[1:]]
    ours = {row[0] for row in rows if (row[1], row[7]) == ("00000000", "00000000")}
    found = map(_DEFAULT_V6.match, (line.strip() for line in ipv6_route.splitlines()))
    return frozenset(ours | {match[1] for match in found if match}) - {"lo"}


def _routed(host: Host) -> frozenset[str]:
    """The machine's own routes, and those of the namespace that the path lies in."""
    with host.inside(HOST):
        texts = [
            tuple(_text(_PROC / who / "net" / name) for name in ("route", "ipv6_route"))
            for who in ("1", "thread-self")
        ]
    devices = frozenset[str]().union(*(default_devices(*pair) for pair in texts))
    return devices.union(*(_below(device) for device in devices))


def _below(device: str) -> frozenset[str]:
    """What a bridge, bond or VLAN stands on, down to the ground."""
    lower = {path.name.removeprefix("lower_") for path in (_NET / device).glob("lower_*")}
    return frozenset(lower).union(*(_below(each) for each in lower))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""  # no such protocol, or not ours to read
