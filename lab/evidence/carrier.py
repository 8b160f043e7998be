"""Who moved a NIC's packets: system calls, vhost, exits, queues and rings."""

from __future__ import annotations

from pydantic import Field

from lab.data import Data


class Thread(Data):
    """A kernel thread or thread of QEMU, with how often it was woken in the window."""

    tid: int
    name: str
    wakeups: int


class ExitsEvidence(Data):
    """How often the guest's vCPUs stopped during ``round_trips`` ICMP echoes of one NIC.

    ``to_qemu`` are exits to user space by the reason that KVM gives (``KVM_EXIT_MMIO``), ``to_kvm``
    all exits that the guest causes, by the hardware's reason (``npf``, ``hlt``); those of an idle
    window are subtracted.
    Both are empty where ``kvm`` is false: then no hardware stops the guest.
    """

    guest: str
    nic: str
    kvm: bool
    round_trips: int
    to_qemu: dict[str, int]
    to_kvm: dict[str, int]
    missing: tuple[str, ...] = ()


class QueueCount(Data):
    """What one pair of queues did while the flows went through.

    ``interrupts`` are those of its own interrupt line or lines, by vCPU; none where it has none.
    """

    index: int
    rx_packets: int
    tx_packets: int
    interrupts: dict[int, int]


class QueuesEvidence(Data):
    """How ``flows`` UDP flows each way spread over one NIC's queues.

    ``vhost_threads`` are those of the guest's QEMU with their wake-ups in that time. ``refused`` is
    what the guest said when it would not set the number of queues that it was told to.
    """

    guest: str
    nic: str
    flows: int
    queues: tuple[QueueCount, ...]
    vhost_threads: tuple[Thread, ...]
    refused: str = ""
    missing: tuple[str, ...] = ()


class RingEvidence(Data):
    """The rings of a virtio NIC: ``packed`` by QEMU's word, ``rx_ring`` by the guest's driver."""

    guest: str
    nic: str
    packed: bool | None = None
    rx_ring: int | None = None
    missing: tuple[str, ...] = ()


class CarrierEvidence(Data):
    """Who moved the packets of one NIC during a window of ``round_trips`` ICMP echoes.

    ``qemu_syscalls`` counts QEMU's data-path system calls by name: reads and writes on the file
    descriptors of its taps.
    ``vhost_fds`` is how many ``/dev/vhost-net`` QEMU holds open, ``vfio_fds`` how many VFIO
    devices; ``vfio_interrupts`` counts what came through VFIO by the PCI address that sent it.
    ``vhost_in_qmp`` is QEMU's own word (x-query-virtio-status), ``None`` where the NIC is not
    virtio. ``missing`` says what could not be observed, and why.
    """

    guest: str
    nic: str
    round_trips: int
    qemu_syscalls: dict[str, int]
    vhost_threads: tuple[Thread, ...]
    vhost_fds: int
    tap_fds: int
    vfio_fds: int
    vhost_in_qmp: bool | None
    vfio_interrupts: dict[str, int] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
