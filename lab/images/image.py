"""A finished image: what is in its folder, and the programs that run out of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lab.images.package import Package
from lab.images.tree import LIBRARIES, LOADER


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stamp(_Frozen):
    """What a file's inode says; any write to the file changes ``ctime_ns``."""

    inode: int
    mtime_ns: int
    ctime_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp that a file has now."""
        seen = path.stat()
        return cls(
            inode=seen.st_ino,
            mtime_ns=seen.st_mtime_ns,
            ctime_ns=seen.st_ctime_ns,
            size=seen.st_size,
        )


class FileRecord(_Frozen):
    """One file of an image as it was when it was built (or hashed last)."""

    sha256: str
    stamp: Stamp


class Manifest(_Frozen):
    """``manifest.json`` of an image. ``digest`` covers everything except stamps and ``created``."""

    schema_version: int = 1
    name: str
    recipe: str
    digest: str
    created: str
    kernel: str
    packages: tuple[Package, ...]
    vendored: dict[str, str]
    files: dict[str, FileRecord]


class Image(_Frozen):
    """An image in the cache, checked."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """``guest`` or ``labhost``."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """Digest of the image's content; two images with equal digests are interchangeable."""
        return self.manifest.digest

    @property
    def packages(self) -> tuple[Package, ...]:
        """Every package that the image was made from."""
        return self.manifest.packages

    @property
    def tree(self) -> Path:
        """The part of the packages that runs on this machine; only the lab host has one."""
        return self.folder / "tree"

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(record.stamp.size for record in self.manifest.files.values())

    def path(self, file: str) -> Path:
        """A file of the image, such as ``root.erofs``; KeyError if the image has none such."""
        if file not in self.manifest.files:
            raise KeyError(f"image {self.name} has no file {file}")
        return self.folder / file

    def version_of(self, package: str) -> str:
        """The Debian version of a package; KeyError if the image has none such."""
        for candidate in self.packages:
            if candidate.name == package:
                return candidate.version
        raise KeyError(f"image {self.name} has no package {package}")

    def qemu_argv(self) -> tuple[str, ...]:
        """What stands for ``qemu-system-x86_64`` on this machine; needs ``qemu_env``."""
        share = self.tree / "usr/share"
        return (
            *self._loaded("usr/bin/qemu-system-x86_64"),
            "-L",
            str(share / "qemu"),
            "-L",
            str(share / "seabios"),
        )

    def qemu_env(self) -> dict[str, str]:
        """Variables for QEMU; without them it finds the system's modules and aborts."""
        return {"QEMU_MODULE_DIR": str(self.tree / LIBRARIES / "qemu")}

    def python_argv(self) -> tuple[str, ...]:
        """The lab host's Python on this machine, to compile code for it; needs ``python_env``.

        Only the minimal standard library is there (py_compile, zipfile); no site-packages.
        """
        return (*self._loaded("usr/bin/python3.13"), "-S", "-s")

    def python_env(self) -> dict[str, str]:
        """Variables for that Python: its standard library, and no files written beside it."""
        return {"PYTHONHOME": str(self.tree / "usr"), "PYTHONDONTWRITEBYTECODE": "1"}

    def _loaded(self, program: str) -> tuple[str, ...]:
        libraries = str(self.tree / LIBRARIES)
        loader, binary = str(self.tree / LOADER), str(self.tree / program)
        return (loader, "--library-path", libraries, binary)
