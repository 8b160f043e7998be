"""A guest's way from one QEMU to another, step by step, by what both say on QMP.

With a failover pair QEMU asks the guest to let go of its VF first (UNPLUG_PRIMARY; the migration
waits in ``wait-unplug``), copies memory while the standby carries, and holds the guest still in
``pre-switchover`` until it is told to go on: there libvirt sees to the disks, and there nothing is
lost yet by going back. QEMU: docs/interop/net_failover.rst, docs/devel/migration/main.rst.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.errors import LabError, StartError
from lab.evidence.migration import Moment
from lab.guest.qemu import Guest
from lab.plan.data import MigrationPlan
from lab.qmp import RefusedError

_CAPABILITIES = ("events", "pause-before-switchover")
_ENDED = ("completed", "cancelled", "failed")
# For one step. Far above what was measured (3 s for all of them, nested in a lab host under TCG).
_SECONDS = 60.0
_LAST_WORDS_SECONDS = 1.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Sides:
    """The QEMU that has the guest, and the one that waits for it."""

    source: Guest
    target: Guest

    def both(self) -> tuple[tuple[Literal["source", "target"], Guest], ...]:
        """Each with its name."""
        return ("source", self.source), ("target", self.target)

    def running(self) -> tuple[Literal["source", "target"], ...]:
        """Those that run their guest, by their own word."""
        return tuple(name for name, guest in self.both() if _runs(guest))


def refusal(guest: Guest, file: Path) -> str:
    """What QEMU says to a migration of this guest; empty where it takes the command."""
    try:
        guest.qmp.execute("migrate", {"uri": f"file:{file}"})
    except RefusedError as error:
        return error.message
    guest.qmp.execute("migrate_cancel")
    return ""


def migrate(
    plan: MigrationPlan,
    sides: Sides,
    path: Path,
    hold: Callable[[], None],
    tell: Tell,
) -> str:
    """Move the guest over the socket ``path``; QEMU's last status of the migration.

    ``hold`` is called while the guest stands still. Raises StartError when a QEMU ends or is silent
    for too long, RefusedError when it does not take the migration.
    """
    source = sides.source
    try:
        _begin(plan, sides, f"unix:{path}")
        if (status := _unplugged(plan, source, tell)) in _ENDED:
            return status
        hold()
        status = _switched(plan, source)
        (sides.target if status == "completed" else source).qmp.wait_event("RESUME", _SECONDS)
    except LabError:
        for _name, guest in sides.both():
            guest.check(_LAST_WORDS_SECONDS)
        raise
    tell(_ending(status, source))
    return status


def moments(sides: Sides, since_ns: int) -> tuple[Moment, ...]:
    """What both QEMUs told from a time on, in order of time."""
    told = [
        Moment(
            time_ns=_time_ns(event),
            side=side,
            event=event["event"],
            status=str(event.get("data", {}).get("status", "")),
        )
        for side, guest in sides.both()
        for event in guest.qmp.history
    ]
    return tuple(sorted((m for m in told if m.time_ns >= since_ns), key=lambda m: m.time_ns))


def _runs(guest: Guest) -> bool:
    """A target whose migration was taken back has ended, as QEMU does then."""
    try:
        return bool(guest.qmp.execute("query-status")["running"])
    except StartError:
        return False


def _begin(plan: MigrationPlan, sides: Sides, uri: str) -> None:
    capabilities = [{"capability": name, "state": True} for name in _CAPABILITIES]
    for _name, guest in sides.both():
        guest.qmp.execute("migrate-set-capabilities", {"capabilities": capabilities})
    sides.target.qmp.execute("migrate-set-parameters", plan.parameters)
    sides.target.qmp.execute("migrate-incoming", {"uri": uri})
    sides.source.qmp.execute("migrate", {"uri": uri})


def _unplugged(plan: MigrationPlan, source: Guest, tell: Tell) -> str:
    """Follow the source until it stands still, or to an end that comes sooner."""
    status = _status(source, "wait-unplug", "active")
    if status == "wait-unplug":
        tell("QEMU asks the guest to let go of its VF (UNPLUG_PRIMARY)")
        status = _status(source, "active")
    if status == "active":
        # A bridge that has heard the guest behind its uplink, through the VF, drops what comes
        # from there for it. Neither the guest nor QEMU tells it better by themselves.
        source.qmp.execute("announce-self", plan.announce)
        tell("the guest let go of its VF; the standby is announced and carries")
        status = _status(source, "pre-switchover")
    return status


def _switched(plan: MigrationPlan, source: Guest) -> str:
    if plan.abort:
        source.qmp.execute("migrate_cancel")
    else:
        source.qmp.execute("migrate-continue", {"state": "pre-switchover"})
    return _status(source)


def _status(source: Guest, *wanted: str) -> str:
    """The migration's next status that is wanted, or one of its ends."""
    awaited = {*wanted, *_ENDED}

    def match(data: Any) -> bool:
        return data["status"] in awaited

    try:
        return str(source.qmp.wait_event("MIGRATION", _SECONDS, match)["status"])
    except StartError as error:
        words = f"{error.message}; awaited: {' or '.join(wanted) or 'an end'}{_progress(source)}"
        raise StartError(words) from error


def _progress(source: Guest) -> str:
    """How far it has come by QEMU's word; empty where QEMU has none."""
    try:
        told = source.qmp.execute("query-migrate")
    except LabError:
        return ""
    ram = told.get("ram", {})
    left, total, rate = (ram.get(key, 0) for key in ("remaining", "total", "dirty-pages-rate"))
    return (
        f"; it is {told.get('status')}, {left >> 20} of {total >> 20} MiB are left, "
        f"the guest writes {rate} pages a second"
    )


def _ending(status: str, source: Guest) -> str:
    told = source.qmp.execute("query-migrate")
    if status == "completed":
        return f"the target runs; by QEMU's figure the guest stood still for {told['downtime']} ms"
    return f"the migration was {status}; the source runs on"


def _time_ns(event: Any) -> int:
    stamp = event["timestamp"]
    return int(stamp["seconds"]) * 1_000_000_000 + int(stamp["microseconds"]) * 1000
