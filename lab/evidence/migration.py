"""A guest that moved, and the stream of probes that went to it meanwhile."""

from __future__ import annotations

from typing import Literal

from lab.data import Data
from lab.evidence.guest import Pair


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
