"""The steps of a migration against two QEMUs that say what real ones said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from lab.errors import StartError
from lab.guest.agent import Result
from lab.guest.migration import Sides, migrate, moments, refusal
from lab.guest.pair import pair
from lab.guest.qemu import Guest
from lab.plan.data import MigrationPlan
from lab.qmp import RefusedError
from tests.plans import plan_of

SOCKET = Path("/run/m.sock")
BEGUN = ("setup", "wait-unplug", "active", "pre-switchover")


class Monitor:
    """Says one event after the other; some come only after a command, some commands are refused."""

    def __init__(self, told: Mapping[str, tuple[tuple[str, str], ...]], refused: str = "") -> None:
        self.commands: list[tuple[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self._pending: list[dict[str, Any]] = []
        self._told = told
        self._refused = refused
        self.gone = False

    def execute(self, command: str, arguments: object = None) -> Any:
        if self.gone:
            raise StartError("QEMU closed its QMP connection")
        self.commands.append((command, arguments))
        if command == self._refused:
            raise RefusedError(f"QEMU refused {command}: no", "GenericError")
        for name, status in self._told.get(command, ()):
            second = len(self.history)
            event = {
                "event": name,
                "data": {"status": status} if status else {},
                "timestamp": {"seconds": second, "microseconds": 5},
            }
            self.history.append(event)
            self._pending.append(event)
        ram = {"remaining": 5 << 20, "total": 192 << 20, "dirty-pages-rate": 40}
        return {"downtime": 197, "running": True, "status": "active", "ram": ram}

    def wait_event(
        self, name: str, timeout: float, match: Callable[[Any], bool] = lambda _: True
    ) -> Any:
        for event in self._pending:
            if event["event"] == name and match(event["data"]):
                self._pending.remove(event)
                return event["data"]
        raise StartError(f"no {name}")


class Machine:
    """A guest as far as these steps need one."""

    def __init__(self, monitor: Monitor, ended: bool = False, out: str = "") -> None:
        self.name = "guest"
        self.qmp = monitor
        self._ended = ended
        self._out = out

    def check(self, _seconds: float = 0.0) -> None:
        if self._ended:
            raise StartError("guest died")

    def run(self, *_: object, **__: object) -> Result:
        return Result(0, self._out.encode(), "")


def statuses(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple(("MIGRATION", name) for name in names)


def source(**changes: Any) -> Monitor:
    told = {
        "migrate": (*statuses(*BEGUN[:2]), ("UNPLUG_PRIMARY", ""), *statuses(*BEGUN[2:])),
        "migrate-continue": statuses("device", "completed"),
        "migrate_cancel": (*statuses("cancelling", "cancelled"), ("RESUME", "")),
        **changes,
    }
    return Monitor(told)


def sides(first: Monitor, ended: bool = False) -> Sides:
    second = Monitor({"migrate-incoming": (*statuses("active"), ("RESUME", ""))})
    return Sides(cast("Guest", Machine(first)), cast("Guest", Machine(second, ended)))


def planned(**changes: Any) -> MigrationPlan:
    plan = plan_of("failover").migration
    assert plan is not None
    return plan.model_copy(update=changes)


def moved(both: Sides, plan: MigrationPlan) -> tuple[str, list[str]]:
    """The last status, and the commands of the source with a mark where it was held."""
    told: list[str] = []
    commands = cast("Monitor", both.source.qmp).commands
    status = migrate(plan, both, SOCKET, lambda: commands.append(("held", None)), told.append)
    assert told
    return status, [name for name, _ in commands]


def test_the_steps_of_a_move() -> None:
    both = sides(source())
    status, commands = moved(both, planned())
    assert status == "completed"
    assert commands == [
        "migrate-set-capabilities",
        "migrate",
        "announce-self",
        "held",
        "migrate-continue",
        "query-migrate",
    ]
    incoming = cast("Monitor", both.target.qmp).commands
    assert [name for name, _ in incoming] == [
        "migrate-set-capabilities",
        "migrate-set-parameters",
        "migrate-incoming",
    ]
    assert incoming[-1][1] == {"uri": f"unix:{SOCKET}"}


def test_an_abort_goes_back_when_the_source_stands_still() -> None:
    status, commands = moved(sides(source()), planned(abort=True))
    assert status == "cancelled"
    assert commands[-3:] == ["held", "migrate_cancel", "query-migrate"]


def test_a_failure_on_the_way_ends_it() -> None:
    both = sides(source(migrate=statuses("setup", "failed")))
    assert migrate(planned(), both, SOCKET, lambda: None, print) == "failed"


def test_a_step_that_does_not_come_is_told_with_how_far_it_is() -> None:
    both = sides(source(migrate=statuses("setup", "active")))
    words = "awaited: pre-switchover; it is active, 5 of 192 MiB are left, .* 40 pages a second"
    with pytest.raises(StartError, match=words):
        migrate(planned(), both, SOCKET, lambda: None, print)


def test_a_qemu_that_is_gone_tells_no_more() -> None:
    both = sides(source(migrate=statuses("setup", "active")))

    def gone(_text: str) -> None:
        cast("Monitor", both.source.qmp).gone = True

    with pytest.raises(StartError, match=r"awaited: pre-switchover$"):
        migrate(planned(), both, SOCKET, lambda: None, gone)


def test_a_qemu_that_died_is_the_cause() -> None:
    both = sides(source(migrate=statuses("setup")), ended=True)
    with pytest.raises(StartError, match="guest died"):
        migrate(planned(), both, SOCKET, lambda: None, print)


def test_a_target_that_has_ended_runs_nothing() -> None:
    both = sides(Monitor({}))
    assert both.running() == ("source", "target")
    cast("Monitor", both.target.qmp).gone = True
    assert both.running() == ("source",)


def test_moments_are_in_order_and_not_from_before() -> None:
    both = sides(source())
    migrate(planned(), both, SOCKET, lambda: None, print)
    seen = moments(both, 2_000_000_000)
    assert [moment.time_ns for moment in seen] == sorted(moment.time_ns for moment in seen)
    assert all(moment.time_ns >= 2_000_000_000 for moment in seen)
    assert seen[0].event == "UNPLUG_PRIMARY"
    assert {(m.side, m.event, m.status) for m in seen} >= {("source", "MIGRATION", "completed")}


def test_a_refusal_is_qemus_own_word() -> None:
    refusing = Machine(Monitor({}, refused="migrate"))
    assert refusal(cast("Guest", refusing), Path("/x")) == "QEMU refused migrate: no"


def test_a_migration_that_is_taken_is_taken_back() -> None:
    monitor = Monitor({})
    assert not refusal(cast("Guest", Machine(monitor)), Path("/x"))
    assert [name for name, _ in monitor.commands] == ["migrate", "migrate_cancel"]


@pytest.mark.parametrize(
    ("out", "primary", "carrier"),
    [
        ("eth1 eth0 virtio_net 1\neth2 eth0 igbvf 1\n", "eth2", True),
        ("eth2 eth0 igbvf 0\neth1 eth0 virtio_net 1\n", "eth2", False),
        ("eth1 eth0 virtio_net 1\n", "", False),
    ],
)
def test_what_the_guest_says_of_its_pair(out: str, primary: str, carrier: bool) -> None:
    seen = pair(cast("Guest", Machine(Monitor({}), out=out)), 0.0)
    assert (seen.master, seen.standby) == ("eth0", "eth1")
    assert (seen.primary, seen.carrier) == (primary, carrier)


def test_a_guest_without_a_failover_device() -> None:
    with pytest.raises(StartError, match="guest guest has no failover device"):
        pair(cast("Guest", Machine(Monitor({}))), 0.0)
