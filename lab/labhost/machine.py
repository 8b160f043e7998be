"""The lab host's machine: a QEMU command line as a pure function of a few facts.

    pcie.0 -+- root port 1 -- 01:00.0 igb     eth0, the port under test ("uplink"), 7 VFs
            +- root port 2 -- 02:00.0 igb     eth1, the tester's end
            +- root port 3 -- 03:00.0 igb     spare
            +- root port 4 -- 04:00.0 igb     spare
            +- root port 5 -- 05:00.0 e1000e  spare
            +- root ports 6 and 7             empty
            +- virtio-blk (the root image), virtio-serial (channel, shell), virtio-rng

All five ports hang on one hub: the cable. QEMU 10.0 or newer is expected (docs/system/devices/igb,
docs/system/i386); igb's VFs need 10.0.6 where their BARs lie above 4 GiB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

MEMORY_MIB = 2048
GUESTS_MIB = MEMORY_MIB - 256
"""What its guests can have of it: the rest is for its kernel and the lab's own code."""
CPUS = 2
CHANNEL_PORT = "hoplab.channel"
KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "quiet",
    "panic=-1",
    # What hardens a kernel is paid for at every allocation, copy and system call: an eighth of a
    # run under TCG. Nothing foreign runs here.
    "mitigations=off",
    "init_on_alloc=0",
    "hardened_usercopy=off",
    "randomize_kstack_offset=off",
    "lsm=capability",
    "audit=0",
    # On a busy machine the vCPU may not run for long enough that the kernel takes the emulated
    # timer for broken and panics, or the TSC for unstable (kernel-parameters.txt).
    "no_timer_check",
    "tsc=reliable",
    "intel_iommu=on",
    "iommu=pt",
)

_NICS = ("igb", "igb", "igb", "igb", "e1000e")
_ROOT_PORTS = 7
_FIRST_ROOT_PORT_SLOT = 0x10


class Accelerator(StrEnum):
    """What runs the lab host's instructions."""

    KVM = "kvm"
    TCG = "tcg"

    @property
    def scale(self) -> float:
        """Factor for every deadline: what a machine with KVM does in 1 s takes this long."""
        return 1.0 if self is Accelerator.KVM else 8.0

    @property
    def cpu(self) -> str:
        """The CPU model; TCG emulates AMD's SVM, so KVM works inside without KVM outside.

        x2APIC, because with an APIC in memory a CPU can keep an interrupt in service for ever whose
        handler is over, and take no other, while the memory map changes, as it does with every VF
        that comes or goes (seen with QEMU 10.0.13 under TCG). No SMAP, because TCG ends a block of
        translated code at each of the two instructions around every access to user memory.
        """
        return "host" if self is Accelerator.KVM else "EPYC,+svm,+npt,+x2apic,-smap"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Machine, accelerator and CPU. Under KVM the vIOMMU remaps interrupts only if KVM leaves
        the I/O APIC to QEMU (kernel-irqchip=split)."""
        if self is Accelerator.KVM:
            machine, accel = "q35,kernel-irqchip=split", "kvm"
        else:
            machine, accel = "q35", "tcg,thread=multi"
        return ("-machine", machine, "-accel", accel, "-cpu", self.cpu)

    @property
    def kernel_arguments(self) -> tuple[str, ...]:
        """Words for the kernel's command line; images/labhost/server.py reads the lab's own."""
        return ("hoplab.hold_vm",) if self is Accelerator.TCG else ()


@dataclass(frozen=True)
class Fds:
    """Inherited sockets, by number: QMP, the channel to the server, the root shell on hvc0."""

    qmp: int
    channel: int
    shell: int


@dataclass(frozen=True)
class MachineSpec:
    """Everything the command line depends on.

    ``console_log`` takes the serial console. With ``incoming`` QEMU waits for a snapshot instead of
    booting.
    """

    accelerator: Accelerator
    kernel: Path
    initrd: Path
    root: Path
    console_log: Path
    fds: Fds
    incoming: bool = False

    def arguments(self) -> tuple[str, ...]:
        """QEMU's arguments, without the program itself."""
        return (
            *self.accelerator.arguments,
            *_board(),
            *_boot(self.kernel, self.initrd, self.accelerator.kernel_arguments),
            *_disk(self.root),
            *_characters(self.console_log, self.fds),
            *_network(),
            *(("-incoming", "defer") if self.incoming else ()),
        )

    def identity(self) -> tuple[str, ...]:
        """The arguments that a snapshot has to agree with: all but names of files and fds.

        What the files hold is in the image's digest, which belongs in a snapshot's key as well.
        """
        plain = replace(
            self,
            kernel=Path("kernel"),
            initrd=Path("initrd"),
            root=Path("root"),
            console_log=Path("console"),
            fds=Fds(0, 0, 0),
            incoming=False,
        )
        return plain.arguments()


def escaped(path: Path) -> str:
    """A path as the value of a QEMU option, where a comma is written twice."""
    return str(path).replace(",", ",,")


def _board() -> tuple[str, ...]:
    return (
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-name", "hoplab", "-smp", str(CPUS), "-m", str(MEMORY_MIB)),
        # The vIOMMU comes before every device that it is to see. caching-mode lets VFIO inside
        # map guests' memory; 48 bits hold a guest's whole address space (39 make mapping fail).
        # Linux takes x2APIC only where interrupts can be remapped to its larger addresses (eim).
        *("-device", "intel-iommu,intremap=on,eim=on,caching-mode=on,aw-bits=48"),
        *("-device", "virtio-rng-pci,addr=0x5"),
    )


def _boot(kernel: Path, initrd: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    return (
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", " ".join((*KERNEL_ARGUMENTS, *words))),
    )


def _disk(root: Path) -> tuple[str, ...]:
    return (
        "-blockdev",
        # Nobody else writes the image (it is in the cache, by content), and a lock would need it
        # to be opened for writing by no one: many lab hosts share it.
        f"driver=file,node-name=root,filename={escaped(root)},read-only=on,locking=off",
        "-device",
        "virtio-blk-pci,drive=root,addr=0x3",
    )


def _characters(console_log: Path, fds: Fds) -> tuple[str, ...]:
    """Console to a file; QMP, channel and shell over sockets that were made before QEMU was."""
    return (
        *("-chardev", f"file,id=console,path={escaped(console_log)}"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,fd={fds.qmp}"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-device", "virtio-serial-pci,addr=0x4"),
        *("-chardev", f"socket,id=shell,fd={fds.shell}"),
        *("-device", "virtconsole,chardev=shell"),
        *("-chardev", f"socket,id=channel,fd={fds.channel}"),
        *("-device", f"virtserialport,chardev=channel,name={CHANNEL_PORT}"),
    )


def _network() -> tuple[str, ...]:
    """Root ports in order of bus number, then the NICs that sit behind the first of them."""
    arguments: list[str] = []
    for bus in range(1, _ROOT_PORTS + 1):
        port = f"pcie-root-port,id=rp{bus},chassis={bus},addr={_FIRST_ROOT_PORT_SLOT + bus - 1:#x}"
        arguments += ["-device", port]
    for bus, model in enumerate(_NICS, start=1):
        nic = f"{model},id=nic{bus},bus=rp{bus},netdev=port{bus},mac=52:54:00:1a:b0:{bus:02x}"
        arguments += ["-netdev", f"hubport,id=port{bus},hubid=0", "-device", nic]
    return tuple(arguments)
