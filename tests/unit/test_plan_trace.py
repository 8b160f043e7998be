"""Plans that follow single packets."""

from __future__ import annotations

import pytest

from lab.errors import UsageError
from lab.plan.trace import traced
from tests.plans import plan_of


def test_what_is_configured_stays_and_what_is_proved_goes() -> None:
    plan = plan_of("vhost")
    followed = traced(plan)
    assert followed.operations == plan.operations
    assert followed.guests == plan.guests
    assert (followed.probes, followed.expectations, followed.questions) == ((), (), ())
    assert followed.trace is not None
    assert followed.trace.probe == plan.probes[0]
    assert followed.trace.hops == plan.expectations[0].hops
    assert followed.trace.size == 1514


def test_a_nic_is_chosen_by_its_guest_or_its_own_name() -> None:
    plan = plan_of("macvtap")
    last = plan.probes[-1]
    assert last != plan.probes[0]
    for word in (last.guest, f"{last.guest}.{last.nic}"):
        followed = traced(plan, word)
        assert followed.trace is not None
        assert followed.trace.probe == last


def test_a_topology_may_expect_no_hops() -> None:
    plan = plan_of("vhost")
    silent = tuple(each.model_copy(update={"hops": None}) for each in plan.expectations)
    followed = traced(plan.model_copy(update={"expectations": silent}))
    assert followed.trace is not None
    assert followed.trace.hops == ()


def test_an_unknown_nic_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="has no NIC 'other'") as refused:
        traced(plan_of("vhost"), "other")
    assert "guest.nic0" in refused.value.hint


@pytest.mark.parametrize("size", [59, 1515])
def test_a_frame_that_the_nic_cannot_send_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"60 to 1514 bytes, not {size}"):
        traced(plan_of("vhost"), size=size)
