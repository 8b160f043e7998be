"""Carries out a plan's operations on the host, undoes them, and looks whether all is as before."""

from __future__ import annotations

import errno
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from lab.errors import CannotError, LabError, StartError
from lab.host import links, offload, pci, taps
from lab.host.host import Host
from lab.host.refusal import refuse_early
from lab.host.undo import UndoStack, reason
from lab.plan import operations
from lab.plan.operations import Operation
from lab.plan.where import HOST

_Handler = Callable[[Host, Any, UndoStack], None]
_PCI = "PCI"
_SETTINGS = "/etc/modprobe.d"
_Thing = tuple[str, str]  # (where, device), (_PCI, address), or (_SETTINGS, pattern of names)

_EXEC_SECONDS = 30.0
_NOT_IN_KERNEL = {errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENODEV}


class Operations:
    """What was done to the host so far, and how to undo it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._undos = UndoStack()
        self._before: dict[_Thing, object] = {}

    def apply(self, operations: Iterable[Operation]) -> None:
        """Carry them out in order.

        Raises CannotError when the kernel cannot do it, StartError when it refuses; what was done
        until then is undone by `undo`.
        """
        operations = tuple(operations)
        refuse_early(self._host, operations)
        # All of them first: what one operation makes, a later one may change.
        for thing in chain.from_iterable(map(_things, operations)):
            if thing not in self._before:
                self._before[thing] = self._look(thing)
        for operation in operations:
            with _named(describe(operation)):
                _HANDLERS[operation.op](self._host, operation, self._undos)

    def undo(self) -> tuple[str, ...]:
        """Undo everything; returns what is not as it was before, in words. Idempotent."""
        failures = self._undos.run()
        before, self._before = self._before, {}
        return failures + tuple(
            _difference(thing, was, now)
            for thing, was in before.items()
            if (now := self._look(thing)) != was
        )

    def _look(self, thing: _Thing) -> object:
        where, name = thing
        if where == _SETTINGS:
            return tuple(sorted(map(str, Path(where).glob(name)))) or None
        return (
            pci.function(self._host, name) if where == _PCI else self._host.find_link(where, name)
        )


def describe(operation: Operation) -> str:  # noqa: C901  one case an operation
    """An operation in a few words, for error messages."""
    match operation:
        case operations.AddMember():
            text = f"put {operation.device} into bridge {operation.bridge}"
        case operations.LinkUp():
            text = f"set {operation.device} up"
        case operations.FillChecksums():
            text = f"switch checksum offload of {operation.device} off"
        case operations.AddAddress():
            text = f"add {operation.cidr} to {operation.device}"
        case operations.AddVfs():
            text = f"make {operation.count} VFs on {operation.device}"
        case operations.SetVf():
            text = f"set VF {operation.index} of {operation.device}"
        case operations.BindVfio():
            text = f"bind {operation.pci} to vfio-pci"
        case operations.Exec():
            text = f"run {shlex.join(operation.argv)}"
        case _:
            text = f"add {operation.op} {operation.name}"
    return f"{text} in {operation.where}" if operation.where != HOST else text


def _things(operation: Operation) -> tuple[_Thing, ...]:
    """What an operation makes or changes."""
    names: tuple[_Thing, ...] = ()
    for field in ("name", "device", "port"):
        if hasattr(operation, field):
            names += ((operation.where, getattr(operation, field)),)
    if isinstance(operation, operations.AddVeth):
        names += ((operation.peer_where, operation.peer),)
    if isinstance(operation, operations.AddVfs | operations.BindVfio):
        names += ((_PCI, operation.pci),)
    if isinstance(operation, operations.AddVfs) and operation.persist:
        names += ((_SETTINGS, "hoplab-*.conf"),)
    return names


def _run(host: Host, op: operations.Exec, undos: UndoStack) -> None:
    if op.undo:
        undos.push(shlex.join(op.undo), lambda: _program(host, op.where, op.undo))
    _program(host, op.where, op.argv)


def _program(host: Host, where: str, argv: tuple[str, ...]) -> None:
    with host.inside(where):
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=_EXEC_SECONDS, check=False
            )
        except FileNotFoundError as error:
            raise CannotError(f"the program {argv[0]} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise StartError(f"{argv[0]} ran for {_EXEC_SECONDS:.0f} s", argv=argv) from error
    if done.returncode:
        raise StartError(
            f"{argv[0]} ended with status {done.returncode}",
            argv=argv,
            returncode=done.returncode,
            output=done.stderr,
        )


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Turn the kernel's refusal into one of our errors that names the operation."""
    try:
        yield
    except LabError as error:
        error.message = f"{what}: {error.message}"
        error.args = (error.message,)
        raise
    except (NetlinkError, OSError) as error:
        raise _refusal(what, error) from error


def _refusal(what: str, error: NetlinkError | OSError) -> LabError:
    number = error.code if isinstance(error, NetlinkError) else error.errno
    text = f"{what}: {reason(error)}"
    if number in (errno.EPERM, errno.EACCES):
        return CannotError(text, hint="run as root, or with --on labhost")
    if number in _NOT_IN_KERNEL:
        return CannotError(text, hint="this kernel lacks it; --on labhost brings one that has it")
    return StartError(text)


def _difference(thing: _Thing, was: object, now: object) -> str:
    where, name = thing
    if was is None:
        return f"{name} in {where} is still there"
    if now is None:
        return f"{name} in {where} is gone"
    return f"{name} in {where} was {was}, is {now}"


_HANDLERS: dict[str, _Handler] = {
    "bridge": links.add_bridge,
    "member": links.add_member,
    "veth": links.add_veth,
    "vlan": links.add_vlan,
    "checksums": offload.fill_checksums,
    "up": links.set_up,
    "address": links.add_address,
    "tap": taps.add_tap,
    "macvtap": taps.add_macvtap,
    "vfs": pci.add_vfs,
    "vf": pci.set_vf,
    "vfio": pci.bind_vfio,
    "exec": _run,
}
