"""Opens what a QEMU inherits: the character devices of macvtaps, and ``/dev/vhost-net``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.errors import CannotError, StartError
from lab.host.host import Host
from lab.host.namespace import tmpfs
from lab.plan.data import Fd
from lab.plan.where import HOST

VHOST_NET = "/dev/vhost-net"
VHOST_HINT = "modprobe vhost_net, or run with --on labhost"


@contextmanager
def open_fds(host: Host, fds: Iterable[Fd], folder: Path) -> Iterator[Mapping[str, int]]:
    """Yield the numbers of the opened descriptors by name; they are closed at the end.

    ``folder`` takes device nodes that ``/dev`` lacks, for a moment. Raises CannotError, StartError.
    """
    with ExitStack() as stack:
        numbers: dict[str, int] = {}
        for fd in fds:
            if fd.kind == "vhost":
                numbers[fd.name] = _open(Path(VHOST_NET))
            else:
                numbers[fd.name] = _open_macvtap(host, fd.device, folder)
            stack.callback(os.close, numbers[fd.name])
        yield numbers


def _open(path: Path) -> int:
    try:
        # Without O_CREAT: a missing node must not become a plain file.
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        hint = VHOST_HINT if str(path) == VHOST_NET else "modprobe macvtap"
        raise CannotError(f"{path} cannot be opened: {error.strerror}", hint=hint) from error
    if not stat.S_ISCHR(os.fstat(fd).st_mode):
        os.close(fd)
        raise CannotError(f"{path} is not a character device", hint=f"remove {path}")
    return fd


def _open_macvtap(host: Host, device: str, folder: Path) -> int:
    """Open the character device of a macvtap.

    Its name is made of the interface index, which is unique in one namespace only: where ``/dev``
    has another namespace's node, or none, we make our own.
    """
    index = host.index(HOST, device)
    number = Path(f"/sys/class/net/{device}/tap{index}/dev")
    try:
        major, minor = (int(part) for part in number.read_text().split(":"))
    except FileNotFoundError as error:
        raise StartError(f"{device} is no macvtap: there is no {number}") from error
    wanted = os.makedev(major, minor)
    node = Path(f"/dev/tap{index}")
    if node.is_char_device() and node.stat().st_rdev == wanted:
        return _open(node)
    own = folder / f"{device}.node"
    own.mkdir(exist_ok=True)
    with tmpfs(own):
        os.mknod(own / node.name, 0o600 | stat.S_IFCHR, wanted)
        return _open(own / node.name)
