"""This machine's own kernel as a place to carry out a plan: images, accelerator, ports, worker."""

from __future__ import annotations

import math
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import UsageError
from lab.events import Emit, Note
from lab.guest.qemu import STOP_SECONDS
from lab.here.ports import Ports
from lab.host.lend import inspect, lend
from lab.labhost.accelerator import Choice, ProbeSpec, choose_for_guests
from lab.labhost.channel import Channel
from lab.labhost.machine import Accelerator
from lab.labhost.process import Program, running
from lab.labhost.setup import Images
from lab.paths import python_path
from lab.plan.data import VETH, Facts, Place, Plan, Port

_ENTRY = "the run"
# The longest that an undo takes but for the guests: that of a program (`lab.host.operations`).
_UNDO_SECONDS = 30.0


@dataclass
class Here:
    """This machine, with a worker that waits for a plan; ``guests`` is the number of its QEMUs."""

    facts: Facts
    channel: Channel
    folder: Path
    namespaces: dict[str, str]
    guests: int = 0

    @property
    def stop_seconds(self) -> float:
        """The longest that the worker takes to end; its guests end one after the other."""
        return _UNDO_SECONDS + self.guests * STOP_SECONDS

    def call(self, plan: Plan) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Carry out a plan; yields its events. Raises StartError when the worker dies."""
        self.guests = len(plan.guests) + (plan.migration is not None)
        argument = {
            "plan": plan.model_dump(mode="json"),
            "folder": str(self.folder),
            "namespaces": self.namespaces,
        }
        # Every wait inside has a deadline of its own, and a worker that dies closes the channel.
        return self.channel.call(_ENTRY, argument, b"", math.inf)


def check_ports(ports: Ports) -> None:
    """Raise UsageError for half a cable or no such port, CannotError for one in use."""
    if bool(ports.uplink) != bool(ports.tester):
        raise UsageError(
            "--uplink and --tester belong together: the two ends of one cable",
            hint="leave both out for a veth pair",
        )
    if ports.uplink and ports.uplink == ports.tester:
        raise UsageError(f"--uplink and --tester are both {ports.uplink}")
    for where, device in ports.lent.items():
        inspect(where, device)


def first_facts(ports: Ports) -> Facts:
    """What can be said before the images are there: enough to decide whether a plan can run."""
    device = ports.uplink or "eth0"
    pci, driver = _pci(ports.uplink)
    return Facts(
        place=Place.HERE,
        accelerator=Accelerator.TCG.value,
        qemu=("qemu-system-x86_64",),
        qemu_env={},
        kernel="vmlinux",
        initrd="initrd",
        ports=(Port(name="uplink", device=device, pci=pci, driver=driver),),
        tester=ports.tester or "eth1",
        run=secrets.token_hex(4),
    )


def final_facts(facts: Facts, images: Images, choice: Choice, rundir: Path, emit: Emit) -> Facts:
    """The facts once the images are there; KVM is proved by booting where that is not known yet.

    Raises CannotError when ``choice`` asks for KVM in vain.
    """
    decision = choose_for_guests(choice, probe_spec(images), images.cache, rundir)
    emit(Note(text=f"guests under {decision.accelerator}: {decision.reason}"), b"")
    return facts.model_copy(
        update={
            "accelerator": decision.accelerator.value,
            "qemu": images.labhost.qemu_argv(),
            "qemu_env": images.labhost.qemu_env(),
            "kernel": str(images.guest.path("vmlinux")),
            "initrd": str(images.guest.path("initrd")),
        }
    )


@contextmanager
def open_here(facts: Facts, ports: Ports, rundir: Path) -> Iterator[Here]:
    """Yield this machine, ready for one plan; the ports are back at the end.

    Raises CannotError when a port is in use, LeftBehindError when one could not be put back.
    """
    folder = rundir / "run"
    folder.mkdir()
    with ExitStack() as stack:
        kept = stack.enter_context(lend(ports.lent)) if ports.lent else {}
        namespaces = {where: str(file) for where, file in kept.items()}
        yield stack.enter_context(_worker(facts, namespaces, rundir, folder))


def probe_spec(images: Images) -> ProbeSpec:
    """What is booted under KVM to see whether it works; the same as for a lab host."""
    image = images.labhost
    return ProbeSpec(
        qemu=image.qemu_argv(),
        environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **image.qemu_env()},
        kernel=images.guest.path("vmlinux"),
        initrd=images.guest.path("initrd"),
        identity=f"{image.version_of('qemu-system-x86')} {images.guest.digest}",
    )


@contextmanager
def _worker(facts: Facts, namespaces: dict[str, str], rundir: Path, folder: Path) -> Iterator[Here]:
    """A worker that waits for its plan; what it has begun is undone at the end, or by our death."""
    ours, theirs = socket.socketpair()
    program = Program(
        name="worker",
        # -P: root imports nothing from the folder that it happens to be in.
        argv=(sys.executable, "-P", "-m", "lab.here.worker", str(theirs.fileno())),
        environment={**os.environ, "PYTHONPATH": python_path()},
        console=rundir / "worker-console.log",
        stderr=rundir / "worker-stderr.log",
        what="the worker",
        orphaned="TERM",
    )
    with ours, theirs, running(program, [theirs.fileno()]) as process:
        theirs.close()
        here = Here(facts, Channel(ours, process), folder, namespaces)
        try:
            yield here
        finally:
            ours.close()
            process.stop(here.stop_seconds)


def _pci(device: str) -> tuple[str, str]:
    """PCI address and driver of a network device; a device of the kernel's own is a veth to us."""
    link = Path("/sys/class/net", device or "-", "device")
    if not link.exists():
        return "", VETH
    pci = link.joinpath("subsystem").resolve().name == "pci"
    return link.resolve().name if pci else "", link.joinpath("driver").resolve().name
