"""What the host's kernel says while a run goes (dmesg)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

_RECORD = 8192


class KernelLog:
    """The messages since the log was opened; none where the kernel shows them to nobody."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def read(self) -> str:
        """One line a message, ``seconds message``, since the last call."""
        return "".join(self._records()) if self._fd is not None else ""

    def _records(self) -> Iterator[str]:
        assert self._fd is not None
        while True:
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EPIPE:  # the ring has overtaken us: go on with its oldest
                    raise
                continue
            head, _, text = record.decode(errors="replace").partition(";")
            microseconds = int(head.split(",")[2])
            yield f"{microseconds / 1e6:.6f} {text.splitlines()[0]}\n"


@contextmanager
def open_kernel_log() -> Iterator[KernelLog]:
    """Yield the log from now on (Documentation/ABI/testing/dev-kmsg)."""
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield KernelLog(None)
        return
    try:
        os.lseek(fd, 0, os.SEEK_END)
        yield KernelLog(fd)
    finally:
        os.close(fd)
