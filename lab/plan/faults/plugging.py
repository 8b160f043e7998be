"""Faults of NICs that are plugged in and out while their guest runs."""

from __future__ import annotations

from collections.abc import Callable

from lab.plan.data import GuestPlan, HotplugStep, NicPlan, Plan
from lab.plan.faults.alteration import with_guests


def deaf_guest(plan: Plan) -> Plan:
    """A guest whose vCPUs stand still cannot let anything go."""
    stop = HotplugStep(command="stop", arguments={})
    return _with_unplug(plan, lambda nic: (stop, *nic.unplug))


def plugged_in(plan: Plan) -> bool:
    """Whether NICs come to running guests."""
    return any(nic.hotplug for guest in plan.guests for nic in guest.nics)


def netdev_kept(plan: Plan) -> Plan:
    """The device goes, what stands behind it stays: its tap and its vhost remain open."""

    def steps(nic: NicPlan) -> tuple[HotplugStep, ...]:
        return tuple(step for step in nic.unplug if step.command != "netdev_del")

    return _with_unplug(plan, steps)


def netdev_plugged_in(plan: Plan) -> bool:
    """One round only: the next would find its netdev there already."""
    return plugged_in(plan) and all(
        nic.netdev and nic.rounds == 1 for guest in plan.guests for nic in guest.nics
    )


def _with_unplug(plan: Plan, steps: Callable[[NicPlan], tuple[HotplugStep, ...]]) -> Plan:
    def spoiled(guest: GuestPlan) -> GuestPlan:
        nics = tuple(nic.model_copy(update={"unplug": steps(nic)}) for nic in guest.nics)
        return guest.model_copy(update={"nics": nics})

    return with_guests(plan, spoiled)
