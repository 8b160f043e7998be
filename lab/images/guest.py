"""The guest image: an uncompressed kernel and an initramfs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lab.images import kernel, recipe
from lab.images.newc import Archive
from lab.images.tree import LOADER, Tree

_BUSYBOX = "usr/bin/busybox"


def make(tree: Tree, work: Path, scratch: Path) -> None:
    """Write ``vmlinux`` and ``initrd`` into ``work``."""
    wanted = recipe.recipe("guest")
    kernel.extract(tree, work / "vmlinux")
    base_root(tree, scratch)
    for program in (*wanted.programs, LOADER, *tree.libraries(wanted.programs)):
        tree.copy(program, scratch)
    kernel.Modules(tree).install(wanted.modules, scratch)
    shutil.copytree(recipe.folder() / "guest" / "root", scratch, dirs_exist_ok=True)
    link_applets(tree, scratch)
    pack(scratch, work / "initrd")


def base_root(tree: Tree, root: Path) -> None:
    """The skeleton of an initramfs: merged /usr, mount points, busybox."""
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64"):
        (root / name).mkdir(parents=True)
        (root / name.removeprefix("usr/")).symlink_to(name)
    for name in ("dev", "proc", "root", "run", "sys", "tmp"):
        (root / name).mkdir()
    tree.copy(_BUSYBOX, root)


def link_applets(tree: Tree, root: Path) -> None:
    """Give busybox the names of the commands that nothing else provides; to be done last.

    The links are relative: whatever writes through one stays inside the root. The shell had better
    be another one: Debian's busybox sh runs its own ``ip`` and the like even when the real ones
    come first in PATH.
    """
    listing = subprocess.run(
        [tree.top / _BUSYBOX, "--list"], capture_output=True, text=True, check=True
    )
    for name in listing.stdout.split():
        places = (root / "usr/bin" / name, root / "usr/sbin" / name)
        if not any(place.is_symlink() or place.exists() for place in places):
            # /sbin/init and the like are looked for there by kernel and QEMU's guest agent.
            target = places[name in {"init", "poweroff", "halt", "reboot", "modprobe"}]
            target.symlink_to("../bin/busybox")


def pack(root: Path, destination: Path) -> None:
    """Archive a folder as an initramfs. /dev/console is what the kernel gives to its first process
    for input and output, before devtmpfs is there."""
    with destination.open("wb") as stream:
        archive = Archive(stream)
        archive.add_folder(root)
        archive.add_node("dev/console", 5, 1)
        archive.finish()
