"""Network namespaces: ``host``, where the path under test lies, and ``wire``, the far end.

In the lab host both exist. On the user's own machine they are made here, without a name, so that
nothing of the machine is touched and everything in them vanishes with the process, whichever way
it ends (network_namespaces(7)). A veth that is in a namespace vanishes with it too: namespaces that
hold ports of the machine are *kept* by a file that they are mounted on, as ``ip netns`` does it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.errors import CannotError
from lab.plan.data import Place
from lab.plan.where import HOST, WIRE

_CLONE_NEWNET = 0x40000000
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NOEXEC = 2, 8
_MS_BIND = 0x1000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MNT_DETACH = 2
_THREAD_NET = "/proc/thread-self/ns/net"
_WIRE_IN_LABHOST = "/run/netns/wire"

# Python has os.setns and os.unshare from 3.12 on only.
_libc = ctypes.CDLL(None, use_errno=True)


class Namespaces:
    """Open namespaces by the plan's word for them."""

    def __init__(self, fds: Mapping[str, int]) -> None:
        self._fds = dict(fds)

    def fd(self, where: str) -> int:
        """The namespace's own file descriptor; it stays ours."""
        return self._fds[where]

    @contextmanager
    def inside(self, where: str) -> Iterator[None]:
        """Run the block in namespace ``where``: this thread only.

        Sockets, tap devices and programs made in the block stay in that namespace.
        """
        home = os.open(_THREAD_NET, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._fds[where])
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)


@contextmanager
def open_namespaces(place: Place, kept: Mapping[str, Path] | None = None) -> Iterator[Namespaces]:
    """Yield the namespaces of the place.

    On ``here`` the calling thread is in the ``host`` namespace for the length of the block, and
    keeps a mount namespace of its own whose ``/sys`` shows it. Both are new there, or those that
    the files ``kept`` hold (see `keep`). Raises CannotError.
    """
    with ExitStack() as stack:
        if place is Place.HERE:
            stack.enter_context(_private(_open(stack, str(kept[HOST])) if kept else None))
        host = _open(stack, _THREAD_NET)
        if kept:
            wire = _open(stack, str(kept[WIRE]))
        elif place is Place.HERE:
            _unshare(_CLONE_NEWNET)
            wire = _open(stack, _THREAD_NET)
            _setns(host)
        else:
            wire = _open(stack, _WIRE_IN_LABHOST)
        yield Namespaces({HOST: host, WIRE: wire})


def keep(file: Path) -> None:
    """Make a network namespace that lives until `let_go` of ``file``. Raises CannotError."""
    home = os.open(_THREAD_NET, os.O_RDONLY | os.O_CLOEXEC)
    try:
        file.touch(mode=0o600)
        _unshare(_CLONE_NEWNET)
        try:
            _mount(_THREAD_NET, str(file), "none", _MS_BIND)
        finally:
            _setns(home)
    finally:
        os.close(home)


def let_go(file: Path) -> None:
    """Forget a namespace that was kept; it vanishes with what is in it once nobody uses it."""
    _libc.umount2(str(file).encode(), _MNT_DETACH)
    file.unlink(missing_ok=True)


@contextmanager
def tmpfs(folder: Path) -> Iterator[None]:
    """Have an empty file system on a folder that may hold device nodes: /run and /tmp may not.

    It is gone after the block, with what is in it. Raises CannotError.
    """
    _mount("tmpfs", str(folder), "tmpfs", _MS_NOSUID | _MS_NOEXEC)
    try:
        yield
    finally:
        _libc.umount2(str(folder).encode(), _MNT_DETACH)


@contextmanager
def _private(kept: int | None) -> Iterator[None]:
    home = os.open(_THREAD_NET, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _unshare(_CLONE_NEWNS | (_CLONE_NEWNET if kept is None else 0))
        if kept is not None:
            _setns(kept)
        _mount("none", "/", "none", _MS_REC_PRIVATE)
        _mount("sysfs", "/sys", "sysfs", 0)
        try:
            yield
        finally:
            _libc.umount2(b"/sys", _MNT_DETACH)
    finally:
        _setns(home)
        os.close(home)


def _open(stack: ExitStack, path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CannotError(f"there is no network namespace {path}: {error.strerror}") from error
    stack.callback(os.close, fd)
    return fd


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise CannotError(
            f"no network namespace of our own can be made: {os.strerror(number)}",
            hint="run as root, or with --on labhost",
        )


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise CannotError(
            f"the network namespace cannot be entered: {os.strerror(number)}",
            hint="run as root, or with --on labhost",
        )


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, None) != 0:
        number = ctypes.get_errno()
        raise CannotError(f"mount of {kind} on {target} failed: {os.strerror(number)}")
