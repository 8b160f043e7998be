"""The lab host's server: a Python that has imported everything, waiting on a virtio-serial port.

It answers three messages (the format is described in ``lab/labhost/frames.py``): ``hello`` tells
that the lab host is ready, ``call`` runs a function out of a zip of the lab's code. Each call runs
in a fork, so it starts with every import done and leaves nothing behind in here. ``warm`` imports
the lab's code itself before the snapshot; a call that brings other code imports that instead.
Where the kernel's command line says ``hoplab.hold_vm`` it keeps a virtual machine that never runs.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import importlib
import os
import platform
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from lab.labhost.frames import Message, read_frame, write_frame

PORT = "hoplab.channel"
SETUP = Path("/run/hoplab/setup")
CODE = Path("/run/hoplab")
FAILURE = Path("/run/hoplab/failure")
KVM = Path("/dev/kvm")
HOLD_VM = "hoplab.hold_vm"
# linux/kvm.h
KVM_CREATE_VM = 0xAE01
KVM_CREATE_IRQCHIP = 0xAE60
KVM_CREATE_VCPU = 0xAE41
WARM = (
    "asyncio",
    "concurrent.futures",
    "pydantic",
    "pyroute2",
    "qemu.qmp",
    "scapy.all",
    "zipimport",
)


def main() -> None:
    """Import, wait for the set-up's outcome, serve until the machine ends."""
    for name in WARM:
        importlib.import_module(name)
    # A FIFO: this blocks until the set-up script has written its outcome (empty: all well).
    failed = SETUP.read_text().strip()
    if failed:
        sys.stderr.write(f"hoplab: set-up failed: {failed}\n")
    # Forked calls share these pages as long as no collection writes to them.
    gc.collect()
    gc.freeze()
    if HOLD_VM in Path("/proc/cmdline").read_text().split() and KVM.exists() and not os.fork():
        hold_vm()
    descriptor = os.open(port_device(PORT), os.O_RDWR | os.O_CLOEXEC)
    # The writer is buffered because a raw write takes only what the port has room for (32 KiB,
    # virtio_console.c).
    with os.fdopen(descriptor, "rb") as reader, os.fdopen(os.dup(descriptor), "wb") as writer:
        serve(reader, writer, failed)


def hold_vm() -> NoReturn:
    """Keep a virtual machine with a CPU that never runs, until this machine ends.

    A guest's coming, its boot and its going else change KVM's static keys (preempt_notifier_key,
    apic_sw_disabled): the kernel rewrites code that another CPU is running, which TCG does not
    always notice (docs/architecture.md, "Faults of TCG").
    """
    vm = fcntl.ioctl(os.open(KVM, os.O_RDWR | os.O_CLOEXEC), KVM_CREATE_VM, 0)
    fcntl.ioctl(vm, KVM_CREATE_IRQCHIP, 0)
    fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    while True:
        signal.pause()


def port_device(wanted: str) -> str:
    """The device of a virtio-serial port; there is no udev to make /dev/virtio-ports."""
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == wanted:
            return f"/dev/{name.parent.name}"
    raise SystemExit(f"hoplab: no virtio-serial port named {wanted}")


def serve(reader: BinaryIO, writer: BinaryIO, failed: str) -> None:
    """Answer messages one after the other, also across a host side that comes and goes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    watch_connection(reader.fileno())
    while True:
        try:
            message, attachment = read_frame(reader)
        except EOFError:
            # Nobody is connected, and poll() would return at once for ever. The driver sends SIGIO
            # when the other side opens the port; the second bounds a signal that came just before.
            signal.sigtimedwait({signal.SIGIO}, 1.0)
            continue
        if message.get("kind") == "hello":
            write_frame(writer, hello(message, failed))
        elif message.get("kind") == "call":
            write_frame(writer, call(message, attachment, writer))
        elif message.get("kind") == "warm":
            write_frame(writer, warm(message, attachment))


def watch_connection(descriptor: int) -> None:
    """Ask for SIGIO when the host side opens or closes the port."""
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)


def hello(message: Message, failed: str) -> Message:
    """Who answers; ``setup`` is empty or says what of the lab host's set-up failed."""
    return {
        "kind": "hello",
        "nonce": message.get("nonce"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "setup": failed,
    }


def call(message: Message, attachment: bytes, writer: BinaryIO) -> Message:
    """Run one call in a child; returns the ``end`` message."""
    code = stored(attachment)
    FAILURE.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        run_child(message, code, writer)
    _, status = os.waitpid(child, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    error = ""
    with suppress(FileNotFoundError):
        error = FAILURE.read_text()
    if exit_code and not error:
        how = f"ended by signal {-exit_code}" if exit_code < 0 else f"exited with {exit_code}"
        error = f"the call {how}"
    return {"kind": "end", "id": message.get("id"), "status": int(exit_code != 0), "error": error}


def warm(message: Message, attachment: bytes) -> Message:
    """Import a module in here, for all later calls with the same code; returns ``end``."""
    error = ""
    try:
        load(message["module"], stored(attachment))
    except Exception:  # noqa: BLE001 - whatever it was, the caller is told
        error = traceback.format_exc()
    gc.collect()
    gc.freeze()
    return {"kind": "end", "id": message.get("id"), "status": int(bool(error)), "error": error}


def run_child(message: Message, code: Path, writer: BinaryIO) -> None:
    """Carry out a call and leave the process, with 0 or with a traceback in FAILURE."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    status = 1
    try:
        module, _, function = message["entry"].partition(":")
        entry = getattr(load(module, code), function)
        entry(message["argument"], emitter(message["id"], writer))
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it was, the caller is told
        FAILURE.write_text(traceback.format_exc())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def stored(code: bytes) -> Path:
    """The code as a file of its own name: zipimport remembers what it has read of an archive."""
    path = CODE / f"{hashlib.sha256(code).hexdigest()}.zip"
    path.write_bytes(code)
    return path


def load(module: str, code: Path) -> Any:
    """A module out of ``code``; what was loaded of the lab from elsewhere is dropped first."""
    if sys.path[0] != str(code):
        for loaded in [key for key in sys.modules if key == "lab" or key.startswith("lab.")]:
            del sys.modules[loaded]
        sys.path.insert(0, str(code))
        importlib.invalidate_caches()
    return importlib.import_module(module)


def emitter(number: int, writer: BinaryIO) -> Any:
    """The function that a call reports with: ``emit(event, attachment=b"")``."""

    def emit(event: dict[str, Any], attachment: bytes = b"") -> None:
        write_frame(writer, {"kind": "event", "id": number, "event": event}, attachment)

    return emit


if __name__ == "__main__":
    main()
