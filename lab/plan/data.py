"""The plan: what will be done, decided before anything is touched. Pure data, no I/O.

A plan is made from a topology and the facts of the place (`lab.plan.build`), travels as JSON to
where it is carried out (`lab.execute`), and is compared with the evidence (`lab.report.judge`).

Where something stands is said by a short word: ``host`` is the machine (or lab host) whose kernel
carries the packet, ``wire`` is the network namespace at the far end of the cable, anything else is
the name of a guest.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from lab.data import Data
from lab.plan.operations import Operation, SetVf

HOP_PORT = 9477
"""UDP destination port of the marked hop probes, and of nothing else."""
ECHO_PORT = 7
"""UDP destination port of the echo exchanges (RFC 862)."""
VETH = "veth"
"""Driver of a port that is one end of a veth pair."""


class Place(StrEnum):
    """Where a plan is carried out."""

    LABHOST = "labhost"
    HERE = "here"


class Carrier(StrEnum):
    """Who moves a packet between the guest's NIC and the outside."""

    QEMU = "qemu"
    VHOST = "vhost"
    VFIO = "vfio"


class Exits(StrEnum):
    """How often a guest stops for QEMU, for the packets of one NIC."""

    NONE = "none"
    PER_PACKET = "per-packet"


class Direction(StrEnum):
    """As the guest sees it: ``in`` is from the wire to the guest, ``out`` the other way."""

    IN = "in"
    OUT = "out"


# --- facts of the place -------------------------------------------------------------------------


class Port(Data):
    """One network port of the host. ``pci`` is the full PCI address, empty for a veth.

    ``mac`` is its own MAC address: the one that a guest has to which the port is passed through.
    """

    name: str
    device: str
    pci: str = ""
    driver: str = ""
    mac: str = ""


class Facts(Data):
    """What the plan has to know of the place. For a lab host all of it is known beforehand.

    ``qemu`` is the argv prefix that starts QEMU, ``qemu_env`` what it needs in its environment.
    ``ports`` are the ports that a topology may name: ``uplink`` is the port under test. ``tester``
    is the device at the far end, inside the namespace ``wire``. ``run`` is a short token, unique
    to the run, from which MAC addresses are derived.
    """

    place: Place
    accelerator: Literal["kvm", "tcg"]
    qemu: tuple[str, ...]
    qemu_env: dict[str, str]
    kernel: str
    initrd: str
    ports: tuple[Port, ...]
    tester: str
    run: str


# --- guests -------------------------------------------------------------------------------------


class Fd(Data):
    """A file descriptor that QEMU inherits under a name: ``{fd:NAME}`` stands for it in the argv.

    ``kind`` says what to open: ``macvtap`` is the character device of ``device`` (one open file a
    queue), ``vhost`` is ``/dev/vhost-net``.
    """

    name: str
    kind: Literal["macvtap", "vhost"]
    device: str = ""


class CostLevel(StrEnum):
    """How much of what packets cost is measured: a second of counting; TCP too; all rates too."""

    BRIEF = "brief"
    TCP = "tcp"
    FULL = "full"


class Attach(StrEnum):
    """When a guest gets its NICs: with its command line, or while it runs."""

    COLD = "cold"
    HOTPLUG = "hotplug"


class HotplugStep(Data):
    """One QMP command on the way of a NIC to or from a running guest.

    ``fds`` are passed by getfd first.
    """

    command: str
    arguments: dict[str, str | int | bool | None]
    fds: tuple[str, ...] = ()


class NicPlan(Data):
    """One NIC of a guest.

    ``id`` is the id of QEMU's ``-device``, ``netdev`` that of its ``-netdev`` (empty for vfio).
    ``address`` is the guest's IPv4 address in CIDR form. ``active`` is what ``ethtool -L
    combined`` is set to in the guest before the proof, ``rx_ring`` what ``ethtool -G rx`` is;
    ``None`` leaves it alone. A NIC with
    ``hotplug`` steps comes when the guest runs, and goes by its ``unplug`` steps, ``rounds`` times
    in all. With ``failover`` it is the standby of a pair, which the guest's net_failover shows as
    one device.
    """

    id: str
    netdev: str
    mac: str
    address: str
    mtu: int = 1500
    queues: int = 1
    active: int | None = None
    rx_ring: int | None = None
    hotplug: tuple[HotplugStep, ...] = ()
    unplug: tuple[HotplugStep, ...] = ()
    rounds: int = 0
    failover: bool = False


class GuestPlan(Data):
    """One QEMU process.

    ``argv`` is complete but for named places: ``{chan:qmp}`` and ``{chan:agent}`` (the address part
    of a ``-chardev socket``: ``fd=N`` when the lab runs it, ``path=...`` in the printed command),
    ``{file:console}`` (a path) and ``{fd:NAME}``.
    """

    name: str
    argv: tuple[str, ...]
    fds: tuple[Fd, ...] = ()
    nics: tuple[NicPlan, ...]

    @property
    def has_function(self) -> bool:
        """Whether a PCI function is given to it, at its start or later."""
        steps = (step for nic in self.nics for step in nic.hotplug)
        later = any(step.arguments.get("driver") == "vfio-pci" for step in steps)
        return later or any(word.startswith("vfio-pci,") for word in self.argv)


class MigrationPlan(Data):
    """A guest moves from one QEMU to another while numbered probes go to it.

    ``target`` is the QEMU that waits for it, ``plain`` the same guest without failover, which QEMU
    has to refuse. ``peer`` is the tester's address, ``taps`` are the standby's devices before and
    after. ``announce`` is what the source announces the standby with (QMP announce-self) when its
    VF is gone, ``parameters`` are the target's (QMP migrate-set-parameters). ``abort`` takes the
    migration back when the source stands still, ``hold_ms`` keeps it so for longer, as management
    software does that has to see to disks. With ``returns`` a primary is there in the end and is
    waited for. A probe is sent every ``interval_ms``.
    """

    guest: str
    nic: str
    peer: str
    target: GuestPlan
    plain: GuestPlan
    taps: tuple[str, str]
    announce: dict[str, int]
    parameters: dict[str, int]
    abort: bool
    returns: bool
    hold_ms: int = 0
    interval_ms: int = 20


# --- probes and expectations --------------------------------------------------------------------


class Hop(Data):
    """A device that a packet passes. ``name`` is the word the topology uses for it."""

    name: str
    where: str
    device: str


class FunctionPlan(Data):
    """The PCI function that a guest's NIC is.

    ``vf`` is what its port is to say of a VF, ``vfs`` how many of them the port is to have.
    """

    pci: str
    vf: SetVf | None = None
    vfs: int | None = None


class Segment(Data):
    """One side's way for the standby: its tap, the bridge, and the bridge's port to the wire."""

    tap: str
    bridge: str
    uplink: str


class MigrationExpectation(Data):
    """What a migration must come to.

    ``primary``: the VF carries again in the end. ``downtime_ms`` is the longest silence on the
    wire that is allowed.
    """

    outcome: Literal["completed", "cancelled"]
    primary: bool
    downtime_ms: int | None
    source: Segment
    target: Segment


class Expectation(Data):
    """What the topology says of one NIC's path, apart from what it configures.

    ``hops`` are in the order of the way in (wire first, guest last). ``None`` means that the
    topology says nothing about it, so nothing is checked. ``packed`` and ``rx_ring`` (entries of
    the receive ring) are virtio settings that were asked for. ``absent`` are kinds of device
    (`lab.evidence.host.Device`) of which the host has none.
    """

    guest: str
    nic: str
    driver: str | None = None
    carrier: Carrier | None = None
    hops: tuple[Hop, ...] | None = None
    queues: int | None = None
    exits: Exits | None = None
    packed: bool | None = None
    rx_ring: int | None = None
    function: FunctionPlan | None = None
    migration: MigrationExpectation | None = None
    absent: tuple[str, ...] | None = None


class ProbePlan(Data):
    """The traffic towards one NIC, always between the guest and the tester on the wire.

    ``sizes`` are lengths of whole Ethernet frames in bytes without the FCS (60 is the smallest that
    a NIC sends). ``tcp_bytes`` go each way on one TCP connection. ``window`` is the number of round
    trips over which the carrier is counted. ``flows`` is how many UDP flows go each way to see over
    which queues they spread; 0 for none. ``device`` is the tester's device that has ``peer``; where
    it is empty, the tester's own end of the cable. ``spaced`` is whether
    everybody has come to rest before the next of the round trips that are counted.
    """

    guest: str
    nic: str
    peer: str
    device: str = ""
    sizes: tuple[int, ...]
    tcp_bytes: int = 65536
    window: int = 100
    flows: int = 0
    costs: CostLevel = CostLevel.BRIEF
    spaced: bool = True


class End(Data):
    """Where a question's frame starts, or is looked for. ``name`` is the topology's word for it.

    ``nic`` is the id of a guest's NIC and ``mac`` its address; the device is the one that the guest
    finds them on. Host and wire have a ``device`` instead. ``address`` is for the IP header only:
    ends are told apart by MAC addresses.
    """

    name: str
    where: str
    nic: str = ""
    mac: str = ""
    device: str = ""
    address: str


class Question(Data):
    """A frame that one end sends to another; ``arrives`` is whether it should be seen there.

    ``None`` is for a question that nobody asked: it is the control of others. ``control`` names the
    question whose frame has to arrive where this one's does not.
    """

    name: str
    source: End
    target: End
    kind: Literal["unicast", "broadcast", "multicast", "ipv6"]
    arrives: bool | None
    control: str = ""


class TracePlan(Data):
    """One NIC's packets of which every step is to be told (`lab.probe.life`).

    ``probe`` says which NIC it is and who its peer, ``size`` is the length of the frames in bytes
    without the FCS, ``hops`` are what they should pass, in the order of the way in.
    """

    probe: ProbePlan
    size: int
    hops: tuple[Hop, ...]


_SHARED_CPU = 1


class Plan(Data):
    """All that one run does. One with a ``trace`` follows single packets, and that is all."""

    topology: str
    title: str
    facts: Facts
    operations: tuple[Operation, ...]
    guests: tuple[GuestPlan, ...]
    probes: tuple[ProbePlan, ...]
    expectations: tuple[Expectation, ...]
    migration: MigrationPlan | None = None
    questions: tuple[Question, ...] = ()
    trace: TracePlan | None = None

    @property
    def cpu(self) -> int | None:
        """The one CPU of the lab host that all QEMUs of the guests stay on; None where any will do.

        A function that comes or goes changes the memory map of the lab host, whose own QEMU then
        kicks its CPUs. Under TCG (10.0, and still in later sources) a kick that finds a CPU inside
        a nested guest can deliver the interrupt that was injected there last once more, even to a
        guest that has interrupts off: it hangs or panics. On one CPU with the QEMU that takes or
        gives back a function, no guest runs at that moment: so it is where one is plugged in, where
        a guest moves, and where one of several guests has one when it starts or ends.
        """
        takers = [guest for guest in self.guests if guest.has_function]
        plugged = any(nic.hotplug for guest in takers for nic in guest.nics)
        beside = bool(takers) and len(self.guests) > 1
        comes = self.migration is not None or plugged or beside
        return _SHARED_CPU if comes and self.facts.place is Place.LABHOST else None
