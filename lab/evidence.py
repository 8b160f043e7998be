"""Evidence: what was observed while a plan was carried out. Pure data, judged later.

Nothing here says whether it is good or bad. Whatever could not be observed is absent or says why
in ``missing``; the judge turns that into an error, never into a pass. Times are nanoseconds of the
host's CLOCK_REALTIME; a guest's own stamps are moved onto that clock by its `Clock`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lab.data import Data
from lab.pci import PciFunction
from lab.plan.data import Direction, Place


class Sighting(Data):
    """A probe seen on one device by a packet socket (packet(7)).

    ``outgoing`` is true where the device was sending it. ``checksum`` is ``partial`` where the
    kernel said that the NIC has yet to fill it in (TP_STATUS_CSUMNOTREADY).
    """

    where: str
    device: str
    time_ns: int
    length: int
    outgoing: bool
    vlan: int | None = None
    checksum: Literal["good", "bad", "partial"]


class MarkedProbe(Data):
    """One probe per direction, with every place where it was seen, in order of time."""

    probe: str
    guest: str
    nic: str
    direction: Direction
    sightings: tuple[Sighting, ...]


class Exchange(Data):
    """Packets of one kind and size in one direction, and what became of them.

    ``size`` is the frame's length in bytes. ``delivered`` counts those that arrived whole and were
    answered (payload compared). ``bad_checksums`` counts frames whose IP, ICMP, UDP or TCP checksum
    was wrong in the capture at the receiving end; ``checked`` how many were verified there.
    """

    protocol: Literal["arp", "icmp", "udp", "tcp"]
    guest: str
    nic: str
    direction: Direction
    size: int
    sent: int
    delivered: int
    checked: int = 0
    bad_checksums: int = 0
    note: str = ""


class Seen(Data):
    """One device on which a question's frame was seen; ``outgoing`` as in a `Sighting`."""

    where: str
    device: str
    outgoing: bool


class Asked(Data):
    """A question that was put: where its frame was seen while all of them were on their way."""

    question: str
    seen: tuple[Seen, ...]


class Device(Data):
    """A network device of the host. ``kind`` is ``bridge``, ``tap``, ``macvtap``, another of the
    kernel's words, or empty for one that has none (a real NIC)."""

    name: str
    kind: str = ""


class Thread(Data):
    """A kernel thread or thread of QEMU, with how often it was woken in the window."""

    tid: int
    name: str
    wakeups: int


class ExitsEvidence(Data):
    """How often the guest's vCPUs stopped during ``round_trips`` ICMP echoes of one NIC.

    ``to_qemu`` are exits to user space by the reason that KVM gives (``KVM_EXIT_MMIO``), ``to_kvm``
    all exits by the hardware's reason (``npf``, ``hlt``); those of an idle window are subtracted.
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


class Holdings(Data):
    """What a QEMU holds: open files by what they are, threads by name, functions on PCI buses."""

    fds: dict[str, int]
    threads: dict[str, int]
    devices: tuple[str, ...]


class HotplugEvidence(Data):
    """One NIC that came to a running guest and was taken out again.

    ``plugged`` and ``unplugged`` are the seconds of each round, the latter until the guest had let
    go. ``kept`` says why the last round has no such time. ``left`` is what QEMU then held that it
    did not hold before the first round.
    """

    guest: str
    nic: str
    plugged: tuple[float, ...]
    unplugged: tuple[float, ...]
    kept: str = ""
    before: Holdings
    after: Holdings
    left: tuple[str, ...]


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


class CostWindow(Data):
    """A while in which packets crossed in one pattern, or none did (``idle``).

    ``packets`` counts both directions, ``lost`` the echoes without an answer. ``counters`` has a
    group for each thing that was counted, split by detail; a group that is there and empty counted
    nothing. ``trips_ns`` are round trips in ping-pong, each from its own sending.
    """

    pattern: Literal["idle", "ping-pong", "burst"]
    traced: bool
    packets: int = 0
    lost: int = 0
    seconds: float
    counters: dict[str, dict[str, int]]
    trips_ns: tuple[int, ...] = ()


class DueEvidence(Data):
    """Echoes sent one every ``pause_ns``, untraced, whether or not the ones before were answered.

    ``trips_ns`` are those that were answered, each from the time at which it was due.
    """

    sent: int
    pause_ns: int
    trips_ns: tuple[int, ...]


class Trial(Data):
    """``sent`` echoes of one size at a rate, and how many were lost; untraced.

    ``reached`` is whether the tester could send at that rate.
    """

    size: int
    pps: float
    sent: int
    lost: int
    reached: bool


class TcpEvidence(Data):
    """Bits per second of TCP payload (iperf3), and how many bytes went to and fro one by one."""

    in_bps: float
    out_bps: float
    transactions: int
    seconds: float


class CostsEvidence(Data):
    """What was counted, and timed, while packets of one NIC crossed.

    ``burst`` is how many a burst has. ``unmeasured`` says of each group that is not counted why,
    ``missing`` what ended it all before its end.
    """

    guest: str
    nic: str
    kvm: bool
    burst: int = 1
    windows: tuple[CostWindow, ...] = ()
    due: DueEvidence | None = None
    trials: tuple[Trial, ...] = ()
    tcp: TcpEvidence | None = None
    unmeasured: dict[str, str] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Machine(Data):
    """What times depend on: the CPU as it calls itself, and the kernel's clock source."""

    cpu: str
    clock_source: str


class NicEvidence(Data):
    """What the guest says of its NIC, through the guest agent (never over the path under test).

    ``refused`` is its answer where it would not set the number of queues.
    """

    id: str
    device: str
    driver: str
    mac: str
    queues: int | None = None
    refused: str = ""


class GuestEvidence(Data):
    """One guest as it ran. ``accelerator`` is from QMP query-kvm, not from the command line."""

    name: str
    accelerator: Literal["kvm", "tcg"]
    kernel: str
    command: str
    boot_seconds: float
    nics: tuple[NicEvidence, ...]


class Pair(Data):
    """A failover pair by the guest's word: the devices below ``master`` that net_failover joins.

    ``driver`` and ``carrier`` are the primary's; empty and false where there is none.
    """

    master: str
    standby: str
    primary: str = ""
    driver: str = ""
    carrier: bool = False


class Moment(Data):
    """One event of a QEMU (QMP) during a migration; ``status`` is that of a MIGRATION event."""

    time_ns: int
    side: Literal["source", "target"]
    event: str
    status: str = ""


class Announcement(Data):
    """A frame by which the guest's address was announced, as it was seen on the wire."""

    time_ns: int
    kind: Literal["rarp", "arp"]


class FdbEntry(Data):
    """Behind which port a bridge looks for the guest, from ``time_ns`` on."""

    time_ns: int
    bridge: str
    port: str


class StreamEvidence(Data):
    """Numbered probes (ICMP echo requests) from the wire, sent whether or not answers come.

    ``sent`` are the times at which they left, in order of their numbers, which begin with 0.
    ``answers`` are pairs of number and time in order of arrival on the wire; ``carried`` are the
    same for each tap that the guest may have sent them through: what came first from no tap came
    through the VF. ``drops`` is what the captures lost.
    """

    interval_ms: int
    sent: tuple[int, ...]
    answers: tuple[tuple[int, int], ...]
    carried: dict[str, tuple[tuple[int, int], ...]]
    announcements: tuple[Announcement, ...]
    fdb: tuple[FdbEntry, ...]
    drops: int


class MigrationEvidence(Data):
    """A guest's move from one QEMU to another.

    ``outcome`` is QEMU's last status (``completed``, ``cancelled``, ``failed``), ``reason`` why it
    failed, ``downtime_ms`` QEMU's own figure. ``runs_on`` is the side that ran the guest afterwards
    by QMP query-status. ``refusal`` is what QEMU said when the same guest was to migrate without
    failover, empty where it took the command.
    """

    guest: str
    nic: str
    outcome: str
    reason: str
    runs_on: tuple[Literal["source", "target"], ...]
    downtime_ms: int | None
    total_ms: int | None
    refusal: str
    before: Pair
    after: Pair
    moments: tuple[Moment, ...]
    stream: StreamEvidence
    commands: dict[str, str]


class Clock(Data):
    """How a guest's clock stands to the host's, from echoes over the path itself (as NTP does).

    guest time + ``offset_ns`` = host time, off by at most ``error_ns`` either way.
    """

    guest: str
    offset_ns: int
    error_ns: int


class VfState(Data):
    """A virtual function as its port's driver says it is (IFLA_VF_INFO, linux/if_link.h).

    ``vlan`` is 0 where it has none. ``trust`` and ``spoofchk`` are ``None`` where not told.
    """

    device: str
    index: int
    mac: str
    vlan: int
    trust: bool | None
    spoofchk: bool | None


class MacAttempt(Data):
    """A guest's try to give its VF another address: what its kernel said, and what it was after.

    ``status`` is that of ip(8). ``guest_mac`` is the guest's address afterwards, ``port_mac`` what
    the port's driver then said of the VF.
    """

    guest: str
    nic: str
    wanted: str
    status: int
    said: str
    guest_mac: str
    port_mac: str


class Unseen(Data):
    """How many packets of one NIC were seen outside the guest, and by which devices of the host.

    ``wire`` counts packets, not sightings. ``senders`` are those of ``host`` that sent one out.
    ``control`` is whether the host's capture saw a packet that was sent for it to see, in the same
    window.
    """

    guest: str
    nic: str
    wire: int
    host: tuple[str, ...]
    senders: tuple[str, ...] = ()
    control: bool


class Capture(Data):
    """One packet socket or tcpdump: what it saw and what it lost (PACKET_STATISTICS)."""

    where: str
    packets: int
    drops: int


class TracedThread(Data):
    """A thread that has to do with a guest: one of its vCPUs, of its vhosts, or another of QEMU's.

    ``name`` is the kernel's name for it (comm).
    """

    tid: int
    name: str
    role: Literal["vcpu", "vhost", "qemu"]


class LinkState(Data):
    """A device at one moment: MTU, the bridge that it is a port of (else empty), its counters.

    The counters are those of ``/sys/class/net/DEVICE/statistics`` (IFLA_STATS64).
    """

    where: str
    device: str
    mtu: int
    bridge: str
    counters: dict[str, int]


class LifeEvidence(Data):
    """One packet that was sent to a guest alone, and all that the kernel said meanwhile.

    ``events`` are the lines of the kernel's trace, their time in seconds of CLOCK_MONOTONIC;
    ``realtime_ns`` + that is CLOCK_REALTIME. ``kind`` is ``icmp`` for an echo request and ``hop``
    for a marked UDP packet, which the guest's kernel refuses. ``answered`` is whether the tester
    got the echo reply, or the refusal, before ``patience_seconds`` were over. ``sightings`` are
    those of the captures, request and reply. ``before`` and ``after`` are the devices of host and
    wire around it.
    """

    guest: str
    nic: str
    probe: str
    kind: Literal["icmp", "hop"]
    size: int
    answered: bool
    patience_seconds: float
    realtime_ns: int
    events: tuple[str, ...]
    threads: tuple[TracedThread, ...]
    sightings: tuple[Sighting, ...]
    before: tuple[LinkState, ...]
    after: tuple[LinkState, ...]


class Evidence(Data):
    """Everything observed in one run, written to disk before anything is undone.

    ``functions`` are the host's PCI functions while the guests ran. ``strays`` are probes that the
    tester sent outside the VLAN of a NIC that has one.
    """

    place: Place
    qemu: str
    host_kernel: str
    guests: tuple[GuestEvidence, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    probes: tuple[MarkedProbe, ...] = ()
    carriers: tuple[CarrierEvidence, ...] = ()
    exits: tuple[ExitsEvidence, ...] = ()
    costs: tuple[CostsEvidence, ...] = ()
    queues: tuple[QueuesEvidence, ...] = ()
    rings: tuple[RingEvidence, ...] = ()
    hotplugs: tuple[HotplugEvidence, ...] = ()
    clocks: tuple[Clock, ...] = ()
    captures: tuple[Capture, ...] = ()
    functions: tuple[PciFunction, ...] = ()
    vfs: tuple[VfState, ...] = ()
    mac_attempts: tuple[MacAttempt, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    strays: tuple[MarkedProbe, ...] = ()
    migration: MigrationEvidence | None = None
    asked: tuple[Asked, ...] = ()
    devices: tuple[Device, ...] = ()
    lives: tuple[LifeEvidence, ...] = ()
    machine: Machine | None = None
    missing: tuple[str, ...] = ()
