"""The kernel out of its package: the bare vmlinux and a chosen set of modules."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.errors import StartError
from lab.images.tree import Tree, run

_MODULES = "usr/lib/modules"


def version(tree: Tree) -> str:
    """The release of the one kernel in the tree, as ``uname -r`` will print it."""
    found = sorted(path.name for path in (tree.top / _MODULES).iterdir())
    if len(found) != 1:
        raise StartError(f"expected one kernel in the packages, found {', '.join(found) or 'none'}")
    return found[0]


def extract(tree: Tree, destination: Path) -> None:
    """Write the ELF kernel that a bzImage carries compressed.

    Its PVH note lets QEMU start it directly, which saves the decompression on an emulated CPU.
    Offsets: Documentation/arch/x86/boot.rst, setup_sects and payload_offset.
    """
    image = (tree.top / "boot" / f"vmlinuz-{version(tree)}").read_bytes()
    start, length = struct.unpack_from("<II", image, 0x248)
    start += (image[0x1F1] + 1) * 512
    # The last four bytes are the unpacked size, appended by the kernel's build.
    payload = image[start : start + length - 4]
    if payload.startswith(b"\xfd7zXZ"):
        destination.write_bytes(lzma.decompress(payload))
    else:
        packed = destination.with_suffix(".zst")
        packed.write_bytes(payload)
        run(tree.argv("usr/bin/zstd", "-dqf", "--rm", str(packed), "-o", str(destination)))


class Modules:
    """The modules of an unpacked kernel package, which has no modules.dep of its own."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.version = version(tree)
        self._top = tree.top / _MODULES / self.version
        self._files = {_plain(path.name): path for path in self._top.rglob("*.ko.xz")}
        builtin = (self._top / "modules.builtin").read_text().split()
        self._builtin = {_plain(Path(line).name) for line in builtin}

    def closure(self, names: Iterable[str]) -> frozenset[str]:
        """The named modules and all that they need; a name that no kernel file has is refused."""
        missing = sorted(n for n in names if not self._known(_plain(n)))
        if missing:
            raise StartError(f"kernel {self.version} has no module {', '.join(missing)}")
        todo, done = [_plain(name) for name in names], set[str]()
        while todo:
            name = todo.pop()
            if name in self._files and name not in done:
                done.add(name)
                todo += _needs(_read(self._files[name]))
        return frozenset(done)

    def install(self, names: Iterable[str], destination: Path) -> None:
        """Unpack modules with their dependencies under ``destination`` and index them."""
        target = destination / _MODULES / self.version
        for name in self.closure(names):
            path = target / self._files[name].relative_to(self._top).with_suffix("")
            path.parent.mkdir(parents=True, exist_ok=True)
            # Uncompressed: the emulated CPU would pay for it at every boot.
            path.write_bytes(_read(self._files[name]))
        for index in self._top.glob("modules.*"):
            shutil.copy2(index, target)
        self._tree.run("usr/bin/kmod", "-b", str(destination), self.version, name="depmod")

    def _known(self, name: str) -> bool:
        return name in self._files or name in self._builtin


def _plain(name: str) -> str:
    """The kernel treats - and _ in module names as equal."""
    return name.partition(".ko")[0].replace("-", "_")


def _read(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes())


def _needs(module: bytes) -> Iterator[str]:
    """What a module's .modinfo section says that it depends on."""
    for kind, text in re.findall(rb"\0(depends|softdep)=([^\0]*)", module):
        names = text.decode().replace(",", " ").split()
        yield from (_plain(n) for n in names if kind == b"depends" or not n.endswith(":"))
