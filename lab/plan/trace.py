"""A plan that follows single packets instead of proving what the topology expects."""

from __future__ import annotations

from lab.errors import UsageError
from lab.plan.data import NicPlan, Plan, TracePlan

_ETHERNET_HEADER = 14
_SMALLEST = 60


def traced(plan: Plan, nic: str | None = None, size: int | None = None) -> Plan:
    """The plan with a trace of one NIC in place of its probes and expectations.

    ``nic`` is ``GUEST`` or ``GUEST.NIC``, by default the first one; ``size`` the length of the
    frames in bytes without the FCS, by default the largest that the NIC's MTU allows. Raises
    UsageError where the plan has no such NIC or the NIC no such frames.
    """
    probe = next((probe for probe in plan.probes if _is(nic, probe.guest, probe.nic)), None)
    if probe is None:
        known = ", ".join(f"{probe.guest}.{probe.nic}" for probe in plan.probes)
        raise UsageError(f"{plan.topology} has no NIC {nic!r}", hint=f"there are: {known}")
    largest = _planned(plan, probe.guest, probe.nic).mtu + _ETHERNET_HEADER
    if size is not None and not _SMALLEST <= size <= largest:
        raise UsageError(f"a frame of this NIC has {_SMALLEST} to {largest} bytes, not {size}")
    hops = next(
        (
            expected.hops
            for expected in plan.expectations
            if (expected.guest, expected.nic) == (probe.guest, probe.nic)
        ),
        None,
    )
    trace = TracePlan(probe=probe, size=size or largest, hops=hops or ())
    return plan.model_copy(
        update={"trace": trace, "probes": (), "expectations": (), "questions": ()}
    )


def _is(wanted: str | None, guest: str, nic: str) -> bool:
    return wanted in {None, guest, f"{guest}.{nic}"}


def _planned(plan: Plan, guest: str, nic: str) -> NicPlan:
    planned = next(each for each in plan.guests if each.name == guest)
    return next(each for each in planned.nics if each.id == nic)
