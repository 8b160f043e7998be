"""``lab run vhost`` beside virtme-ng, which boots the same kernel on the same QEMU and runs true.

The kernel is Debian's package as the guest image was made from it, unpacked; virtme-ng gets the
image's QEMU and the accelerator that the lab would take.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Row, aimed, row
from bench.places import here, images, lab_run
from lab.errors import StartError
from lab.rundir import open_rundir

TITLE = "lab run vhost beside virtme-ng running true"
TURNS = 4
_SECONDS = 300.0


@dataclass(frozen=True)
class Vng:
    """virtme-ng, ready: its command line and where it runs."""

    argv: tuple[str, ...]
    folder: Path
    environment: dict[str, str]


def run() -> Iterator[Row]:
    """Seconds of each, interleaved, and the ratio; a lab run verifies and tears down as well."""
    with tempfile.TemporaryDirectory() as folder, _vng(Path(folder)) as vng:
        lab_run("vhost", Path(folder, "warm"))
        status = _rehearsed(vng)
        turns = [
            (
                _timed_lab(Path(folder, f"run-{number}")),
                _timed_vng(vng, status),
                _timed_lab(Path(folder, f"fresh-{number}"), "--fresh"),
            )
            for number in range(TURNS)
        ]
    labs, vngs, fresh = ([turn[index] for turn in turns] for index in (0, 1, 2))
    yield row("lab run vhost, verified and torn down", "s", labs)
    yield row("vng -- true", "s", vngs)
    yield row("lab run vhost --fresh: its guest boots", "s", fresh)
    ratio = row("lab over vng", "times", [ours / theirs for ours, theirs, _ in turns])
    yield aimed(ratio, "< 1", met=ratio.value < 1)


def _timed_lab(out: Path, *options: str) -> float:
    began = time.monotonic()
    lab_run("vhost", out, *options)
    return time.monotonic() - began


def _timed_vng(vng: Vng, status: int) -> float:
    began = time.monotonic()
    done = _boot(vng, vng.argv)
    if done.returncode != status:
        raise _failure(vng, done)
    return time.monotonic() - began


def _rehearsed(vng: Vng) -> int:
    """The exit status of a boot that was seen to run the program to its end.

    It is the program's own. Where the machine has no udev, virtme-ng cannot bring that home, and
    ends with 255; on the guest's console it can be read.
    """
    program, *options = vng.argv
    done = _boot(vng, (program, "--verbose", *options))
    if done.returncode and b"script exited with code 0" not in done.stdout:
        raise _failure(vng, done)
    return done.returncode


def _boot(vng: Vng, argv: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    """It wants a terminal for the guest's console; script(1) gives it one."""
    return subprocess.run(
        ["script", "--quiet", "--return", "--command", shlex.join(argv), "/dev/null"],
        cwd=vng.folder,
        env=vng.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )


def _failure(vng: Vng, done: subprocess.CompletedProcess[bytes]) -> StartError:
    return StartError(
        f"virtme-ng ended with status {done.returncode}",
        argv=vng.argv,
        returncode=done.returncode,
        output=(done.stdout + done.stderr).decode(errors="replace"),
    )


@contextmanager
def _vng(folder: Path) -> Iterator[Vng]:
    """Unpack kernel and tools; everything that virtme-ng needs is found by PATH."""
    release = images().guest.manifest.kernel
    _unpack(f"linux-image-{release}", folder / "root")
    programs = folder / "bin"
    programs.mkdir()
    _stand_in(programs)
    # Once for all boots: without the list, virtme-ng would make it anew each time.
    (folder / "root" / "lib").symlink_to("usr/lib")
    depmod = (str(programs / "depmod"), "-b", str(folder / "root"), release)
    subprocess.run(depmod, check=True)
    with open_rundir() as rundir:
        accelerator = here(rundir).facts.accelerator
    plain = ("--disable-kvm",) if accelerator == "tcg" else ()
    kernel = folder / "root" / "boot" / f"vmlinuz-{release}"
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    yield Vng(
        ("vng", "-r", str(kernel), *plain, "--", "true"), folder, {**os.environ, "PATH": path}
    )


def _stand_in(programs: Path) -> None:
    """The image's QEMU, kmod and busybox under the names by which virtme-ng looks for them."""
    image = images().labhost
    _unpack("kmod", programs.parent / "root")
    _unpack("busybox-static", programs.parent / "root")
    kmod = programs.parent / "root" / "usr" / "bin" / "kmod"
    loader, *libraries = image.qemu_argv()[:3]
    for name in ("depmod", "modprobe"):
        _script(programs / name, (loader, "--argv0", name, *libraries, str(kmod)), {})
    _script(programs / "qemu-system-x86_64", image.qemu_argv(), image.qemu_env())
    (programs / "busybox").symlink_to(programs.parent / "root" / "usr" / "bin" / "busybox")


def _script(file: Path, argv: tuple[str, ...], environment: dict[str, str]) -> None:
    exports = "".join(f"export {name}={shlex.quote(v)}\n" for name, v in environment.items())
    file.write_text(f'#!/bin/sh\n{exports}exec {shlex.join(argv)} "$@"\n')
    file.chmod(0o755)


def _unpack(package: str, folder: Path) -> None:
    """A package of the images, from the cache of what they were made from."""
    for image in (images().guest, images().labhost):
        for each in image.packages:
            if each.name == package:
                name = f"{package}_{each.version.replace(':', '%3a')}_*.deb"
                deb = next((images().cache / "packages").glob(name), None)
                if deb is None:
                    raise StartError(f"package {package} {each.version} is not in the cache")
                subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)
                return
    raise StartError(f"no image has a package {package}")
