"""What this machine's own kernel can do, found out by doing it, and what a topology needs of it.

Devices are tried in namespaces of a thread of its own, by the operations that a run uses; nothing
of the machine is touched. A module that the kernel loads for it stays loaded.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from lab.errors import CannotError, LabError
from lab.host.fds import VHOST_NET
from lab.host.host import open_host
from lab.host.operations import Operations
from lab.model.topology import Topology
from lab.plan.data import Place
from lab.plan.operations import AddBridge, AddMacvtap, AddTap, AddVeth, Operation
from lab.probe.trace import open_tracing

T = TypeVar("T")

_IOMMU_GROUPS = Path("/sys/kernel/iommu_groups")
_VFIO = Path("/sys/bus/pci/drivers/vfio-pci")
_KERNEL = "apt-get install linux-image-amd64 && reboot"
_IOMMU_LINE = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX intel_iommu=on iommu=pt"'
_IOMMU_FIX = f"echo '{_IOMMU_LINE}' >> /etc/default/grub && update-grub && reboot"


class Feature(StrEnum):
    """Something that a run on this machine may need; the value is its name for the user."""

    ROOT = "root"
    NAMESPACES = "namespaces"
    VETH = "veth"
    BRIDGE = "bridge"
    TAP = "tap"
    MACVTAP = "macvtap"
    VHOST = "vhost_net"
    TRACING = "tracing"
    VFIO = "vfio"
    SRIOV = "sriov"


class MissingFeatureError(CannotError):
    """One feature that is not there; the hint is a line to paste."""


def need(topology: Topology) -> tuple[Feature, ...]:
    """What a topology needs of the kernel, in order."""
    nics = [nic for guest in topology.guests for nic in guest.nics]
    needed = {
        Feature.BRIDGE: topology.bridges,
        Feature.TAP: any(nic.bridge for nic in nics),
        Feature.MACVTAP: any(nic.macvtap for nic in nics),
        Feature.VHOST: any(nic.vhost for nic in nics),
        Feature.VFIO: any(nic.vf or nic.passthrough for nic in nics),
        Feature.SRIOV: topology.vfs,
    }
    return tuple(feature for feature in Feature if needed.get(feature, True))


def require(topology: Topology) -> None:
    """Raise CannotError naming all that the topology needs and this machine lacks."""
    needed = need(topology)
    problems = [error for error in look(needed).values() if error is not None]
    name = topology.topology
    if problems:
        raise CannotError(
            f"{name} cannot run on this machine itself: "
            + "; ".join(error.message for error in problems),
            hint=f"{problems[0].hint}   (or leave out --on here: a lab host has all of it)",
        )
    if Feature.VFIO in needed:
        raise CannotError(
            f"{name} cannot run on this machine itself: its own PCI devices are not given away",
            hint="leave out --on here",
        )


def look(features: Sequence[Feature]) -> dict[Feature, MissingFeatureError | None]:
    """Each feature with what is wrong, or None. Without root and namespaces no more is known."""
    found: dict[Feature, MissingFeatureError | None] = {}
    for feature in features:
        found[feature] = _missing(feature)
        if found[feature] and feature in (Feature.ROOT, Feature.NAMESPACES):
            break
    return found


def _missing(feature: Feature) -> MissingFeatureError | None:
    try:
        _LOOKS[feature]()
    except MissingFeatureError as error:
        return error
    return None


def _root() -> None:
    if os.geteuid() != 0:
        raise MissingFeatureError("only root may do it", hint='sudo -E "$(command -v lab)" doctor')


def _try(what: Feature, *operations: Operation) -> None:
    """Carry operations out where nobody sees it, and undo them. Raises MissingFeatureError."""

    def attempt() -> None:
        with open_host(Place.HERE) as host:
            made = Operations(host)
            try:
                made.apply(operations)
            finally:
                made.undo()

    try:
        _apart(attempt)
    except LabError as error:
        raise MissingFeatureError(error.message, hint=_fix(_MODULES.get(what, ""))) from error


def _vhost() -> None:
    try:
        os.close(os.open(VHOST_NET, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise MissingFeatureError(
            f"no vhost_net ({VHOST_NET}: {error.strerror})", hint=_fix("vhost_net")
        ) from error


def _tracing() -> None:
    def attempt() -> None:
        with open_host(Place.HERE), open_tracing() as tracing:
            tracing.select("raw_syscalls/sys_enter", "common_pid == 1")
            tracing.select("sched/sched_wakeup", "pid == 1")

    try:
        _apart(attempt)
    except LabError as error:
        raise MissingFeatureError(error.message, hint=_KERNEL) from error


def _vfio() -> None:
    if not _IOMMU_GROUPS.is_dir() or not any(_IOMMU_GROUPS.iterdir()):
        raise MissingFeatureError("no IOMMU is in use", hint=_IOMMU_FIX)
    if not _VFIO.exists():
        raise MissingFeatureError("the kernel has no driver vfio-pci", hint=_fix("vfio-pci"))


def _sriov() -> None:
    ports = Path("/sys/class/net").glob("*/device/sriov_totalvfs")
    if not any(int(file.read_text()) for file in ports):
        raise MissingFeatureError(
            "no port makes virtual functions (SR-IOV)", hint="lspci -vv | grep -i sr-iov"
        )


def _apart(look_: Callable[[], T]) -> T:
    """In a thread of its own, whose namespaces end with it."""
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(look_).result()


def _fix(module: str) -> str:
    """How to get a module: load it where it is there, else a kernel that has it."""
    dry = ["modprobe", "--dry-run", "--quiet", module]
    with suppress(FileNotFoundError):
        if module and not subprocess.run(dry, check=False, capture_output=True).returncode:
            return f"modprobe {module}"
    return _KERNEL


def _macvtap() -> Iterator[Operation]:
    yield AddVeth(name="try0", peer="try1")
    yield AddMacvtap(name="try2", port="try0", mode="bridge", mac="52:54:00:00:00:01")


_MODULES = {
    Feature.VETH: "veth",
    Feature.BRIDGE: "bridge",
    Feature.TAP: "tun",
    Feature.MACVTAP: "macvtap",
}
_LOOKS: dict[Feature, Callable[[], None]] = {
    Feature.ROOT: _root,
    Feature.NAMESPACES: lambda: _try(Feature.NAMESPACES),
    Feature.VETH: lambda: _try(Feature.VETH, AddVeth(name="try0", peer="try1")),
    Feature.BRIDGE: lambda: _try(Feature.BRIDGE, AddBridge(name="try0")),
    Feature.TAP: lambda: _try(Feature.TAP, AddTap(name="try0")),
    Feature.MACVTAP: lambda: _try(Feature.MACVTAP, *_macvtap()),
    Feature.VHOST: _vhost,
    Feature.TRACING: _tracing,
    Feature.VFIO: _vfio,
    Feature.SRIOV: _sriov,
}
