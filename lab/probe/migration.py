"""The whole move of a guest, watched from the wire: probes, pair, QMP, bridges."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lab.artifacts import MIGRATION_FILE
from lab.events import Artifact, Emit, Note
from lab.evidence.guest import Pair
from lab.evidence.migration import MigrationEvidence
from lab.guest.migration import Sides, migrate, moments, refusal
from lab.guest.pair import PAIR_SECONDS, pair
from lab.guest.qemu import Guest, start
from lab.host.fdb import watch_fdb
from lab.host.host import Host
from lab.plan.data import Facts, MigrationPlan
from lab.probe.hops import in_order
from lab.probe.pcapng import pcapng
from lab.probe.stream import Stream, open_stream

# Probes before the first step and after the last one, so that what changed has something beside it.
_AROUND_MS = 500


@dataclass(frozen=True)
class Move:
    """What a migration needs: both QEMUs, and what was seen before it began."""

    plan: MigrationPlan
    facts: Facts
    host: Host
    folder: Path
    emit: Emit
    sides: Sides
    before: Pair
    refused: str

    def tell(self, text: str) -> None:
        """Narrate one step."""
        self.emit(Note(text=text), b"")


def refused(plan: MigrationPlan, facts: Facts, host: Host, folder: Path, emit: Emit) -> str:
    """What QEMU says when the guest is to migrate with its VF but without failover.

    That guest never runs a single instruction (-S); its VF is free again afterwards.
    """

    def warn(text: str) -> None:
        emit(Note(text=text, warning=True), b"")

    with start(plan.plain, facts, folder, host, warn) as guest:
        said = refusal(guest, folder / "refused.state")
    emit(Note(text=f"without failover: {said or 'QEMU took the migration'}"), b"")
    return said


def observe_migration(move: Move) -> MigrationEvidence:
    """Move the guest while probes flow. Raises StartError where a QEMU or the guest fails."""
    nic = next(nic for nic in move.sides.source.plan.nics if nic.id == move.plan.nic)
    with (
        watch_fdb(move.host, nic.mac) as watch,
        open_stream(move.plan, nic, move.facts, move.host, watch) as stream,
    ):
        stream.pass_by(_AROUND_MS)
        since = time.time_ns()
        outcome = _migrate(move, stream)
        after = _settled(move, outcome, stream)
        seen = stream.finish()
        _save(move, stream)
    told = move.sides.source.qmp.execute("query-migrate")
    return MigrationEvidence(
        guest=move.plan.guest,
        nic=move.plan.nic,
        outcome=outcome,
        reason=told.get("error-desc", ""),
        runs_on=move.sides.running(),
        downtime_ms=told.get("downtime"),
        total_ms=told.get("total-time"),
        refusal=move.refused,
        before=move.before,
        after=after,
        moments=moments(move.sides, since),
        stream=seen,
        commands={
            move.plan.guest: move.sides.source.command,
            move.plan.target.name: move.sides.target.command,
        },
    )


def lives_on(move: Move, outcome: str) -> Guest:
    """The QEMU that has the guest after the migration, with all that was said of it before."""
    if outcome != "completed":
        return move.sides.source
    move.sides.target.adopt(move.sides.source)
    return move.sides.target


def _migrate(move: Move, stream: Stream) -> str:
    return migrate(
        move.plan,
        move.sides,
        move.folder / "migration.sock",
        lambda: stream.pass_by(move.plan.hold_ms),
        move.tell,
    )


def _settled(move: Move, outcome: str, stream: Stream) -> Pair:
    """The pair once its VF is back, or as it is where none comes back."""
    stream.pass_by(_AROUND_MS)
    after = pair(lives_on(move, outcome), PAIR_SECONDS if move.plan.returns else 0.0)
    if after.carrier:
        move.tell(f"the VF is back: {after.primary} ({after.driver}) carries again")
    else:
        move.tell("there is no VF: the standby carries on")
    stream.pass_by(_AROUND_MS)
    return after


def _save(move: Move, stream: Stream) -> None:
    frames = in_order(*(capture.frames for capture in stream.captures.values()))
    data = pcapng(frames, {})
    (move.folder / MIGRATION_FILE).write_bytes(data)
    move.emit(Artifact(name=MIGRATION_FILE), data)
