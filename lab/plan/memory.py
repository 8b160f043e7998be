"""Whether a place has the memory for all guests of a topology at once."""

from __future__ import annotations

from lab.errors import CannotError
from lab.model.topology import Topology

# What a QEMU takes beside its guest's memory, at least: more where it translates code (TCG).
_QEMU_MIB = 32


def require_memory(topology: Topology, available: int, where: str) -> None:
    """Raise CannotError where the guests need more than the ``available`` MiB that a place has.

    One that migrates is there twice.
    """
    moving = topology.migration.guest if topology.migration else None
    sizes = [
        guest.memory + _QEMU_MIB
        for guest in topology.guests
        for _ in range(2 if guest.name == moving else 1)
    ]
    if sum(sizes) > available:
        raise CannotError(
            f"the guests of {topology.topology} need {sum(sizes)} MiB at once, {_QEMU_MIB} of them "
            f"for each QEMU, and {where} has {available} MiB for them",
            hint="give the guests less: memory",
        )
