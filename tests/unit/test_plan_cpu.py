"""Guests beside which a function comes or goes share one CPU; all others have them all."""

from __future__ import annotations

import pytest

from lab.plan.data import Place, Plan
from lab.plan.hotplug import hotplugged
from tests.plans import plan_of

CASES = {
    "failover": (plan_of("failover"), True),
    "vfs-of-several": (plan_of("sriov"), True),
    "taps-of-several": (plan_of("macvtap"), False),
    "vf-plugged": (hotplugged(plan_of("sriov", {"guests": "1"})), True),
    "port-plugged": (hotplugged(plan_of("passthrough")), True),
    "vf-from-the-start": (plan_of("sriov", {"guests": "1"}), False),
    "tap-plugged": (hotplugged(plan_of("vhost")), False),
    "tap": (plan_of("vhost"), False),
}


@pytest.mark.parametrize(("plan", "shared"), CASES.values(), ids=CASES)
def test_who_shares_one_cpu(plan: Plan, shared: bool) -> None:
    assert (plan.cpu is not None) is shared


def test_cpus_of_this_machine_are_not_the_lab_s_to_give() -> None:
    plan, _shared = CASES["failover"]
    here = plan.facts.model_copy(update={"place": Place.HERE})
    assert plan.model_copy(update={"facts": here}).cpu is None
