"""Ways to change a plan, and to ask what it holds, that all faults share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lab.plan.data import GuestPlan, Plan
from lab.plan.hotplug import as_word, reworded
from lab.plan.operations import Operation


def with_operations(plan: Plan, operations: tuple[Operation, ...]) -> Plan:
    """Other operations instead of the plan's own."""
    return plan.model_copy(update={"operations": operations})


def before(plan: Plan, *added: Operation) -> Plan:
    """Operations carried out first, and undone last."""
    return with_operations(plan, (*added, *plan.operations))


def after(plan: Plan, *added: Operation) -> Plan:
    """Operations carried out last, and undone first."""
    return with_operations(plan, (*plan.operations, *added))


def with_guests(plan: Plan, change: Callable[[GuestPlan], GuestPlan]) -> Plan:
    """Every guest changed, and so the two QEMUs that are started where one migrates."""
    move = plan.migration
    if move is not None:
        changed = {"target": change(move.target), "plain": change(move.plain)}
        move = move.model_copy(update=changed)
    guests = tuple(map(change, plan.guests))
    return plan.model_copy(update={"guests": guests, "migration": move})


def with_words(plan: Plan, change: Callable[[str], str]) -> Plan:
    """Change the words of all QEMU lines, and of what is plugged in later."""

    def spoiled(guest: GuestPlan) -> GuestPlan:
        return guest.model_copy(
            update={
                "argv": tuple(map(change, guest.argv)),
                "nics": tuple(reworded(nic, change) for nic in guest.nics),
            }
        )

    return with_guests(plan, spoiled)


def words(*guests: GuestPlan) -> Iterator[str]:
    """The words of guests' QEMU lines, and of what is plugged in later."""
    for guest in guests:
        yield from guest.argv
        for nic in guest.nics:
            yield from (as_word(step) for step in nic.hotplug)


def expects(plan: Plan, **values: object) -> bool:
    """Whether one NIC is expected to have all these values."""
    return any(
        all(getattr(expected, key) is value for key, value in values.items())
        for expected in plan.expectations
    )
