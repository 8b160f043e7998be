"""What is decided before a lab host is started: accelerator, command line, snapshot key."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lab.artifacts import CONSOLE_FILE
from lab.events import Emit, Note
from lab.images.image import Image
from lab.labhost.accelerator import Choice, Decision, ProbeSpec, choose
from lab.labhost.code import Compiler
from lab.labhost.machine import Accelerator, Fds, MachineSpec
from lab.labhost.process import Program
from lab.labhost.snapshot import Ingredients, Store, host_identity

# One for each topology that comes with the lab, so that all of them run in turn; half a GiB each.
_KEPT = 8


@dataclass(frozen=True)
class Images:
    """What a lab host is made of, and the cache folder that snapshots and findings go to."""

    labhost: Image
    guest: Image
    cache: Path


@dataclass(frozen=True)
class Setup:
    """All that is known before anything is started."""

    decision: Decision
    qemu: tuple[str, ...]
    environment: dict[str, str]
    qemu_version: str
    kernel: Path
    initrd: Path
    root: Path
    rundir: Path
    store: Store
    kept: Store
    image: str
    code_cache: Path
    compiler: Compiler
    emit: Emit

    @property
    def accelerator(self) -> Accelerator:
        """Shorthand."""
        return self.decision.accelerator

    def scaled(self, seconds: float) -> float:
        """A deadline, given for KVM, on this accelerator."""
        return seconds * self.accelerator.scale

    def machine(self, fds: Fds, *, incoming: bool) -> MachineSpec:
        """The machine to start."""
        return MachineSpec(
            accelerator=self.accelerator,
            kernel=self.kernel,
            initrd=self.initrd,
            root=self.root,
            console_log=self.rundir / CONSOLE_FILE,
            fds=fds,
            incoming=incoming,
        )

    def program(self, machine: MachineSpec) -> Program:
        """What to start for a machine."""
        return Program(
            name="lab host",
            argv=(*self.qemu, *machine.arguments()),
            environment=self.environment,
            console=machine.console_log,
            stderr=self.rundir / "labhost-stderr.log",
        )

    def warn(self, text: str) -> None:
        """Tell the user what went wrong and was mended."""
        self.emit(Note(text=text, warning=True), b"")

    def key(self) -> str:
        """The key of the snapshot that fits."""
        return Ingredients(
            qemu=self.qemu_version,
            accelerator=self.accelerator,
            host=host_identity(self.accelerator),
            machine=self.machine(Fds(0, 0, 0), incoming=False).identity(),
            image=self.image,
        ).key()


def prepare(images: Images, choice: Choice, rundir: Path, emit: Emit) -> Setup:
    """Decide everything; boots the KVM probe where its finding is not known yet.

    Raises CannotError when ``choice`` asks for what this machine does not have.
    """
    image = images.labhost
    # QEMU runs with libraries of its own; what the user preloads is not made for them.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **image.qemu_env()}
    version = image.version_of("qemu-system-x86")
    probe = ProbeSpec(
        qemu=image.qemu_argv(),
        environment=environment,
        kernel=images.guest.path("vmlinux"),
        initrd=images.guest.path("initrd"),
        identity=f"{version} {images.guest.digest}",
    )
    return Setup(
        decision=choose(choice, probe, images.cache, rundir),
        qemu=image.qemu_argv(),
        environment=environment,
        qemu_version=version,
        kernel=image.path("vmlinux"),
        initrd=image.path("initrd"),
        root=image.path("root.erofs"),
        rundir=rundir,
        store=Store(images.cache / "snapshots"),
        kept=Store(images.cache / "kept", _KEPT),
        image=image.digest,
        code_cache=images.cache / "code",
        compiler=Compiler(image.python_argv(), image.python_env(), image.digest),
        emit=emit,
    )
