"""Initramfs archives: cpio's "newc" format, as the kernel reads it.

Written here because the usual tools archive what is on disk, and an ordinary user can put neither
device nodes nor files of root there. Format: Documentation/driver-api/early-userspace/
buffer-format.rst in the kernel.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class Archive:
    """One archive being written; everything in it belongs to root and has time stamp 0."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._entries = 0

    def add_folder(self, top: Path) -> None:
        """Everything below ``top``, in an order that does not depend on the file system."""
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(top))
            if path.is_symlink():
                self._add(name, stat.S_IFLNK | 0o777, os.fsencode(path.readlink()))
            elif path.is_dir():
                self._add(name, stat.S_IFDIR | 0o755)
            else:
                mode = 0o755 if os.access(path, os.X_OK) else 0o644
                self._add(name, stat.S_IFREG | mode, path.read_bytes())

    def add_node(self, name: str, major: int, minor: int) -> None:
        """A character device."""
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def finish(self) -> None:
        """The end mark; what follows would be another archive."""
        self._add("TRAILER!!!", 0)

    def _add(
        self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._entries += 1
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._entries, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + encoded, data):
            self._stream.write(part + bytes(-len(part) % 4))
