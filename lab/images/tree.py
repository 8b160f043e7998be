"""A tree of unpacked packages, and programs run out of it on a system that is not Debian 13.

A program starts through the tree's own loader with the tree's own libraries, so nothing of the
system's C library matters.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.images.failure import explain

LOADER = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"

# dpkg-deb unpacks one package with one thread most of the time.
_JOBS = 2


@dataclass(frozen=True)
class Tree:
    """The folder that holds ``usr`` and so on."""

    top: Path

    def unpack(self, packages: Sequence[Path]) -> None:
        """Unpack package files side by side; nothing is configured."""
        for name in ("bin", "lib", "lib64", "sbin"):
            (self.top / "usr" / name).mkdir(parents=True, exist_ok=True)
            (self.top / name).symlink_to(f"usr/{name}")
        largest_first = sorted(packages, key=lambda path: -path.stat().st_size)
        with ThreadPoolExecutor(_JOBS) as pool:
            for _ in pool.map(self._unpack_one, largest_first):
                pass

    def _unpack_one(self, package: Path) -> None:
        run(["dpkg-deb", "--extract", str(package), str(self.top)])

    def argv(self, program: str, *arguments: str, name: str | None = None) -> list[str]:
        """The command that runs ``program`` (a path in the tree); ``name`` is its argv[0]."""
        as_name = ["--argv0", name] if name else []
        return [
            str(self.top / LOADER),
            *as_name,
            "--library-path",
            str(self.top / LIBRARIES),
            str(self.top / program),
            *arguments,
        ]

    def run(
        self,
        program: str,
        *arguments: str,
        name: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program to its end; returns its output, raises on failure."""
        return run(self.argv(program, *arguments, name=name), environ=environ)

    def libraries(self, programs: Iterable[str]) -> list[str]:
        """Paths in the tree of all libraries that programs are linked with, and the loader's."""
        found: set[str] = set()
        for program in programs:
            text = run([*self.argv(program)[:3], "--list", str(self.top / program)], may_fail=True)
            found.update(re.findall(r"=> (\S+) \(0x", text))
        root = f"{self.top}/"
        return sorted(path.removeprefix(root) for path in found if path.startswith(root))

    def copy(self, path: str, destination: Path) -> None:
        """Copy one file out of the tree, following symbolic links."""
        target = destination / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.top / path, target)

    def remove(self, patterns: Iterable[str]) -> None:
        """Delete what the glob patterns match."""
        for pattern in patterns:
            for path in self.top.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def run(
    command: Sequence[str], *, may_fail: bool = False, environ: Mapping[str, str] | None = None
) -> str:
    """Run a build program; raises what its failure means, with its last words."""
    env = {**os.environ, **(environ or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode and not may_fail:
        error: LabError = explain(_shown(command), done.returncode, done.stderr or done.stdout)
        raise error
    return done.stdout


def _shown(command: Sequence[str]) -> list[str]:
    """A command as a reader knows it: without the loader in front."""
    if "--library-path" not in command:
        return list(command)
    return list(command[list(command).index("--library-path") + 2 :])
