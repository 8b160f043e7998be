"""One packet's life: what happened to a marked probe, step by step, and in whose hands it was.

This is the form in which a trace is shown (terminal, JSON, HTML, Perfetto);
`lab.report.trace.timeline` makes it from the kernel's events and the captures. Steps are instants,
spans are the times between them; both count from the moment at which the sender let go.
"""

from __future__ import annotations

from enum import StrEnum

from lab.data import Data
from lab.plan.data import Direction


class Actor(StrEnum):
    """Who does something to a packet, or has it in hand.

    ``nic`` are the NICs' own hardware and the cable between them, also where a guest has the NIC
    to itself; ``host`` is the host's kernel but for what its vhost threads and KVM do.
    """

    TESTER = "tester"
    NIC = "nic"
    HOST = "host"
    VHOST = "vhost"
    QEMU = "qemu"
    KVM = "kvm"
    GUEST = "guest"


class Step(Data):
    """One event on the packet's way. ``time_ns`` counts from `Life.start_ns`.

    ``actor`` is who has the packet from here on. ``where`` is ``wire``, ``host`` or the guest's
    name, ``device`` the network device there, if any. ``event`` is the kernel's name of the event
    (``net_dev_queue``), or ``capture`` for a stamp of a packet socket. ``what`` says it in words.
    ``strong`` marks the steps that tell the story by themselves; ``count`` is how many like events
    in a row a step stands for. ``leg`` is the direction in which the packet was going. ``thread``
    is the thread that ran, or ``softirq`` or ``hardirq`` where one had interrupted thread ``tid``.
    ``error_ns`` is how far the stamp of a guest's own clock may be off. A guest's step has no
    ``cpu`` and no ``tid``.
    """

    time_ns: int
    actor: Actor
    where: str
    event: str
    what: str
    leg: Direction
    device: str = ""
    cpu: int | None = None
    thread: str = ""
    tid: int | None = None
    strong: bool = False
    count: int = 1
    error_ns: int = 0


class Span(Data):
    """A time in which one actor had the packet; spans of a life follow each other without gaps."""

    actor: Actor
    leg: Direction
    begin_ns: int
    end_ns: int


class Counters(Data):
    """One device's counters over the time of the trace: by how much each of them grew.

    The names are those of ``/sys/class/net/DEVICE/statistics``; what did not grow is left out.
    """

    where: str
    device: str
    mtu: int
    grown: dict[str, int]


class Loss(Data):
    """Where a packet got lost, as far as anybody saw it.

    ``seen_at`` is the last place where it was seen (``br0 ingress``). ``function`` is the kernel
    function that dropped it and ``reason`` the kernel's name for why: ``NOT_SPECIFIED`` where it
    gives none, ``CONSUMED`` where it was not dropped but used up. Both are empty where the kernel
    told of neither. ``words`` is the whole finding in
    one sentence. ``counters`` are those of all devices in the path.
    """

    leg: Direction
    seen_at: str
    words: str
    function: str = ""
    reason: str = ""
    counters: tuple[Counters, ...] = ()


class Life(Data):
    """One probe's way to the guest, and back where the guest answers.

    ``kind`` is ``icmp`` for an echo that the guest's kernel answers, ``hop`` for a marked UDP
    packet without an answer. ``size`` is the frame's length in bytes without FCS, ``start_ns`` the
    host's CLOCK_REALTIME at its start, ``duration_ns`` the time from the first step to the last
    in which the packet was seen. ``loss`` is ``None`` where it arrived. ``notes`` are sentences
    about what the trace can and cannot show.
    """

    guest: str
    nic: str
    probe: str
    kind: str
    size: int
    start_ns: int
    duration_ns: int
    steps: tuple[Step, ...]
    spans: tuple[Span, ...] = ()
    loss: Loss | None = None
    notes: tuple[str, ...] = ()


def told(lives: tuple[Life, ...]) -> tuple[Life, ...]:
    """Those to be shown: all that were lost, else the first, which went the whole way."""
    return tuple(life for life in lives if life.loss) or lives[:1]
