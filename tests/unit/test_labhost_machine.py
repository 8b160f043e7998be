"""The lab host's command line: golden, and a snapshot's key covers all that matters of it."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from lab.labhost.machine import Accelerator, Fds, MachineSpec
from lab.labhost.snapshot import Ingredients

SPEC = MachineSpec(
    accelerator=Accelerator.TCG,
    kernel=Path("/c/vmlinux"),
    initrd=Path("/c/initrd"),
    root=Path("/c/a,b/root.erofs"),
    console_log=Path("/run/x,y/console.log"),
    fds=Fds(qmp=7, channel=9, shell=11),
)

TCG = "-machine q35 -accel tcg,thread=multi -cpu EPYC,+svm,+npt,+x2apic,-smap"
KVM = "-machine q35,kernel-irqchip=split -accel kvm -cpu host"

GOLDEN = """
-nodefaults -no-user-config -display none -no-reboot -name hoplab -smp 2 -m 2048
-device intel-iommu,intremap=on,eim=on,caching-mode=on,aw-bits=48
-device virtio-rng-pci,addr=0x5
-kernel /c/vmlinux -initrd /c/initrd
-append 'console=ttyS0 quiet panic=-1 mitigations=off init_on_alloc=0 hardened_usercopy=off
 randomize_kstack_offset=off lsm=capability audit=0 no_timer_check tsc=reliable intel_iommu=on
 iommu=pt hoplab.hold_vm'
-blockdev driver=file,node-name=root,filename=/c/a,,b/root.erofs,read-only=on,locking=off
-device virtio-blk-pci,drive=root,addr=0x3
-chardev file,id=console,path=/run/x,,y/console.log -serial chardev:console
-chardev socket,id=qmp,fd=7 -mon chardev=qmp,mode=control
-device virtio-serial-pci,addr=0x4
-chardev socket,id=shell,fd=11 -device virtconsole,chardev=shell
-chardev socket,id=channel,fd=9 -device virtserialport,chardev=channel,name=hoplab.channel
-device pcie-root-port,id=rp1,chassis=1,addr=0x10
-device pcie-root-port,id=rp2,chassis=2,addr=0x11
-device pcie-root-port,id=rp3,chassis=3,addr=0x12
-device pcie-root-port,id=rp4,chassis=4,addr=0x13
-device pcie-root-port,id=rp5,chassis=5,addr=0x14
-device pcie-root-port,id=rp6,chassis=6,addr=0x15
-device pcie-root-port,id=rp7,chassis=7,addr=0x16
-netdev hubport,id=port1,hubid=0
-device igb,id=nic1,bus=rp1,netdev=port1,mac=52:54:00:1a:b0:01
-netdev hubport,id=port2,hubid=0
-device igb,id=nic2,bus=rp2,netdev=port2,mac=52:54:00:1a:b0:02
-netdev hubport,id=port3,hubid=0
-device igb,id=nic3,bus=rp3,netdev=port3,mac=52:54:00:1a:b0:03
-netdev hubport,id=port4,hubid=0
-device igb,id=nic4,bus=rp4,netdev=port4,mac=52:54:00:1a:b0:04
-netdev hubport,id=port5,hubid=0
-device e1000e,id=nic5,bus=rp5,netdev=port5,mac=52:54:00:1a:b0:05
"""


@pytest.mark.parametrize(("accelerator", "first"), [(Accelerator.TCG, TCG), (Accelerator.KVM, KVM)])
def test_command_line(accelerator: Accelerator, first: str) -> None:
    spec = dataclasses.replace(SPEC, accelerator=accelerator)
    golden = GOLDEN if accelerator is Accelerator.TCG else GOLDEN.replace(" hoplab.hold_vm", "")
    assert list(spec.arguments()) == shlex.split(first + golden.replace("\n ", " "))


def test_incoming_only_adds_to_the_end() -> None:
    waiting = dataclasses.replace(SPEC, incoming=True)
    assert waiting.arguments() == (*SPEC.arguments(), "-incoming", "defer")


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": Path("/d/vmlinux")},
        {"initrd": Path("/d/initrd")},
        {"root": Path("/d/root")},
        {"console_log": Path("/run/other")},
        {"fds": Fds(1, 2, 3)},
        {"incoming": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_names_of_files_and_fds_are_no_part_of_the_identity(change: dict[str, object]) -> None:
    assert dataclasses.replace(SPEC, **change).identity() == SPEC.identity()  # type: ignore[arg-type]


INGREDIENTS = Ingredients(
    qemu="1:10.0.13+ds-0+deb13u1",
    accelerator=Accelerator.TCG,
    host="",
    machine=SPEC.identity(),
    image="0" * 64,
)


@pytest.mark.parametrize(
    "change",
    [
        {"qemu": "1:10.0.13+ds-0+deb13u2"},
        {"accelerator": Accelerator.KVM},
        {"host": "6.12\nmodel name\t: another CPU"},
        {"machine": (*SPEC.identity(), "-S")},
        {"image": "1" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_ingredient_makes_another_key(change: dict[str, object]) -> None:
    other = dataclasses.replace(INGREDIENTS, **change)  # type: ignore[arg-type]
    assert other.key() != INGREDIENTS.key()
    assert dataclasses.replace(INGREDIENTS).key() == INGREDIENTS.key()


def test_tcg_waits_longer() -> None:
    assert Accelerator.TCG.scale > Accelerator.KVM.scale == 1.0
