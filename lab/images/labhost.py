"""The lab host image: its root as one erofs file, its kernel, its initramfs, QEMU for here."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lab
from lab.images import guest, kernel, recipe
from lab.images.tree import LOADER, Tree

_PACKAGES = "usr/lib/python3/dist-packages"
_PYTHON_FOLDERS = ("usr/lib/python3.13", "usr/lib/python3", "usr/lib/hoplab")
_GUEST = "usr/share/hoplab/guest"


def make(tree: Tree, guest_folder: Path, work: Path, scratch: Path) -> None:
    """Write ``root.erofs``, ``vmlinux``, ``initrd`` and ``tree/`` into ``work``.

    Uses the tree up: what is left of it becomes the root.
    """
    wanted = recipe.recipe("labhost")
    shutil.copy2(guest_folder / "vmlinux", work / "vmlinux")
    _make_initrd(tree, wanted, work / "initrd", scratch / "boot")
    _copy_tree(tree, wanted, work / "tree")
    _keep_modules(tree, wanted, scratch / "modules")
    tree.remove(wanted.prune)
    _add_ours(tree, wanted, guest_folder)
    _compile(tree)
    _make_erofs(tree, work / "root.erofs")


def _make_initrd(tree: Tree, wanted: recipe.Recipe, destination: Path, root: Path) -> None:
    guest.base_root(tree, root)
    kernel.Modules(tree).install(wanted.boot_modules, root)
    shutil.copytree(recipe.folder() / "labhost" / "boot", root, dirs_exist_ok=True)
    guest.link_applets(tree, root)
    guest.pack(root, destination)


def _copy_tree(tree: Tree, wanted: recipe.Recipe, destination: Path) -> None:
    programs = wanted.tree_programs
    for file in (*programs, LOADER, *tree.libraries(programs)):
        tree.copy(file, destination)
    for pattern in wanted.tree_data:
        for path in tree.top.glob(pattern):
            # A link to an absolute path (sitecustomize.py) leads out of the tree.
            if path.is_file():
                tree.copy(str(path.relative_to(tree.top)), destination)


def _keep_modules(tree: Tree, wanted: recipe.Recipe, scratch: Path) -> None:
    modules = kernel.Modules(tree)
    scratch.mkdir()
    (scratch / "lib").symlink_to("usr/lib")
    modules.install((*wanted.modules, *wanted.boot_modules), scratch)
    shutil.rmtree(tree.top / "usr/lib/modules")
    shutil.move(scratch / "usr/lib/modules", tree.top / "usr/lib/modules")


def _add_ours(tree: Tree, wanted: recipe.Recipe, guest_folder: Path) -> None:
    top = tree.top
    source = recipe.folder() / "labhost"
    for name in ("dev", "proc", "root", "run", "sys", "tmp", "var/tmp", "var/lib", _GUEST):
        (top / name).mkdir(parents=True, exist_ok=True)
    (top / "var/run").symlink_to("/run")
    shutil.copytree(source / "root", top, dirs_exist_ok=True)
    ours = top / "usr/lib/hoplab"
    shutil.copy2(source / "server.py", ours)
    # The one implementation of the wire format, importable in there under its own name.
    (ours / "lab" / "labhost").mkdir(parents=True)
    shutil.copy2(Path(lab.__file__).parent / "labhost" / "frames.py", ours / "lab" / "labhost")
    for distribution in wanted.vendored:
        for name, file in recipe.vendored(distribution).items():
            (top / _PACKAGES / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, top / _PACKAGES / name)
    for name in ("vmlinux", "initrd"):
        shutil.copy2(guest_folder / name, top / _GUEST)
    guest.link_applets(tree, top)


def _compile(tree: Tree) -> None:
    """Byte-compile for good: unchecked-hash, since no time stamp survives into the image."""
    options = ["-s", "-S", "-m", "compileall", "-q", "-f", "--invalidation-mode"]
    options += ["unchecked-hash", "-s", str(tree.top), "-p", "/"]
    environ = {"PYTHONHOME": str(tree.top / "usr")}

    def compile_folder(folder: str) -> None:
        tree.run("usr/bin/python3.13", *options, str(tree.top / folder), environ=environ)

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(compile_folder, _PYTHON_FOLDERS):
            pass


def _make_erofs(tree: Tree, destination: Path) -> None:
    tree.run(
        "usr/bin/mkfs.erofs",
        "--quiet",
        "-zlz4",
        "-C16384",
        "-T0",
        "-U00000000-0000-0000-0000-000000000000",
        "--all-root",
        str(destination),
        str(tree.top),
    )
