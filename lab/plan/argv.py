"""The QEMU command line of one guest, for QEMU 8 and later.

Few devices: where guests run nested on an emulated CPU each one costs boot time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.model.topology import Guest
from lab.plan.data import Facts, Fd, GuestPlan, NicPlan
from lab.plan.links import vf_address
from lab.plan.wiring import PREFIX, Seat, Wiring

# quiet, because a serial console costs an exit a character; panic=-1 with -no-reboot makes a panic
# an early exit instead of a guest that says nothing; net.ifnames=0 keeps eth0 the first NIC. The
# rest leaves out what costs time where every exit is dear (a guest nested in an emulated host
# boots in 5 s instead of 8): probing by exits (255 PCI buses, four UARTs, keyboard), self-tests and
# signature keys that no guest here uses, patching of kernel text, and what hardens a kernel at each
# allocation, copy and system call.
_KERNEL_LINE = " ".join(
    (
        "console=ttyS0 quiet panic=-1 net.ifnames=0",
        "mitigations=off no_timer_check tsc=reliable",
        "pci=lastbus=0 8250.nr_uarts=1 i8042.noaux=1 i8042.nokbd=1",
        "rodata=off noreplace-smp rcupdate.rcu_expedited=1",
        "init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off",
        "lsm=capability audit=0 numa=off cryptomgr.notests=1",
        "initcall_blacklist="
        + ",".join(
            (
                "agp_init",
                "blacklist_init",
                "crypto_kdf108_init",
                "init_encrypted",
                "jent_mod_init",
                "load_system_certificate_list",
                "serial_pci_driver_init",
            )
        ),
    )
)
# For a guest that migrates. QEMU moves no packet while it plugs a VF in, for 0.1 s and more where
# it is slow, and Linux's usual queue (fq_codel) throws away out of what has waited for so long: the
# numbered probes would take that for a loss on the way.
_PATIENT_QUEUE = " sysctl.net.core.default_qdisc=pfifo_fast"
# No device that nothing here uses; qboot starts a kernel without looking for disks first.
_MACHINE = "q35,hpet=off,i8042=off,sata=off,smbus=off,vmport=off"
_FIRMWARE = "qboot.rom"
_ACCELERATORS = {"kvm": ("kvm", "host"), "tcg": ("tcg,thread=multi", "max")}


def guest_plan(wiring: Wiring, guest: Guest) -> GuestPlan:
    """The guest's process. Raises CannotError where the place lacks a device it is to have."""
    return process_plan(wiring, guest, guest.name, wiring.of(guest))


def process_plan(wiring: Wiring, guest: Guest, name: str, seats: Iterable[Seat]) -> GuestPlan:
    """A QEMU called ``name`` that has these NICs of the guest."""
    seats = tuple(seats)
    return GuestPlan(
        name=name,
        argv=(
            *_machine(wiring.facts, guest),
            *_channels(),
            *(word for seat in seats for word in _nic(wiring, seat)),
            *(word for seat in seats for word in _primary(wiring, seat)),
        ),
        fds=tuple(fd for seat in seats for fd in _fds(seat)),
        nics=tuple(_nic_plan(seat) for seat in seats if not seat.standby),
    )


def escaped(value: str) -> str:
    """A value inside an option that commas divide (qemu(1): a comma is doubled)."""
    return value.replace(",", ",,")


def _machine(facts: Facts, guest: Guest) -> Iterator[str]:
    accelerator, cpu = _ACCELERATORS[facts.accelerator]
    yield from facts.qemu
    yield from ("-name", escaped(guest.name), "-nodefaults", "-no-user-config")
    yield from ("-machine", _MACHINE, "-bios", _FIRMWARE, "-accel", accelerator, "-cpu", cpu)
    yield from ("-smp", str(guest.cpus), "-m", f"{guest.memory}M")
    yield from ("-display", "none", "-no-reboot")
    line = _KERNEL_LINE + (_PATIENT_QUEUE if any(nic.failover for nic in guest.nics) else "")
    yield from ("-kernel", facts.kernel, "-initrd", facts.initrd, "-append", line)


def _channels() -> Iterator[str]:
    """Console, QMP and guest agent: the ways to the guest that are not the path under test."""
    yield from ("-serial", "file:{file:console}")
    yield from ("-chardev", "socket,id=qmp,{chan:qmp}", "-mon", "chardev=qmp,mode=control")
    yield from ("-device", "virtio-serial-pci", "-chardev", "socket,id=agent,{chan:agent}")
    yield from ("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0")


def _nic(wiring: Wiring, seat: Seat) -> Iterator[str]:
    """A root port of its own for each NIC: only behind one can a NIC be plugged in later."""
    yield from ("-device", f"pcie-root-port,id={seat.root_port},chassis={seat.index + 1}")
    if seat.standby:
        return  # its device comes last
    if seat.netdev:
        yield from ("-netdev", _netdev(seat))
    yield from ("-device", _device(wiring, seat))


def _primary(wiring: Wiring, seat: Seat) -> Iterator[str]:
    """Behind all standbys, for it is the standby's device that hides it (QEMU 10.0).

    Where there is none its root port stays: QEMU migrates between equal machines only.
    """
    if seat.standby and seat.nic.vf is not None:
        yield from ("-device", _device(wiring, seat))


def _netdev(seat: Seat) -> str:
    nic = seat.nic
    if nic.macvtap is not None:
        handles = ":".join(f"{{fd:{fd.name}}}" for fd in _fds(seat))
        backend = [f"{'fds' if nic.queues > 1 else 'fd'}={handles}"]
    else:
        backend = [f"ifname={seat.device}", "script=no", "downscript=no"]
        backend += [f"queues={nic.queues}"] if nic.queues > 1 else []
    vhost = f"vhost={_switch(nic.vhost)}"
    return ",".join(["tap", f"id={seat.netdev}", *backend, vhost])


def _device(wiring: Wiring, seat: Seat) -> str:
    nic = seat.nic
    if nic.vf is not None:
        return _vfio(seat, vf_address(wiring.port(nic.vf.port), nic.vf.index))
    if nic.passthrough is not None:
        return _vfio(seat, wiring.port(nic.passthrough).pci)
    # No boot ROM: the kernel is given, and the ROM's files need not exist.
    parts = [nic.model.value, f"id={seat.name}", f"netdev={seat.netdev}", f"mac={seat.mac}"]
    parts += [f"bus={seat.root_port}", "romfile="]
    return ",".join([*parts, *_virtio_settings(seat)])


def _virtio_settings(seat: Seat) -> Iterator[str]:
    nic = seat.nic
    mq = nic.queues > 1 if nic.mq is None else nic.mq
    if mq:
        yield "mq=on"
    # An interrupt for each direction of each pair, one for the configuration, one for control.
    if nic.vectors is not None:
        yield f"vectors={nic.vectors}"
    elif mq:
        yield f"vectors={2 * nic.queues + 2}"
    if nic.packed is not None:
        yield f"packed={_switch(nic.packed)}"
    if nic.rx_queue_size is not None:
        yield f"rx_queue_size={nic.rx_queue_size}"
    if nic.failover is not None:
        yield "failover=on"


def _vfio(seat: Seat, pci: str) -> str:
    # A primary is hidden until the guest's driver has said that it knows failover pairs.
    pair = f",failover_pair_id={seat.standby}" if seat.standby else ""
    return f"vfio-pci,host={pci},id={seat.name},bus={seat.root_port}{pair}"


def _fds(seat: Seat) -> tuple[Fd, ...]:
    """A macvtap's queues: each is one open file of its character device."""
    if seat.nic.macvtap is None:
        return ()
    return tuple(
        Fd(name=f"{seat.netdev}q{queue}", kind="macvtap", device=seat.device)
        for queue in range(seat.nic.queues)
    )


def _nic_plan(seat: Seat) -> NicPlan:
    return NicPlan(
        id=seat.name,
        netdev=seat.netdev,
        mac=seat.mac,
        address=f"{seat.address}/{PREFIX}",
        queues=seat.nic.queues,
        active=seat.nic.active,
        failover=seat.nic.failover is not None,
    )


def _switch(value: bool) -> str:
    return "on" if value else "off"
