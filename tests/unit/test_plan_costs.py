"""The plan says how much of what packets cost is measured."""

from __future__ import annotations

from lab.plan.data import CostLevel
from lab.plan.proof import with_costs
from tests import sample


def test_every_probe_has_the_level() -> None:
    plan = sample.plan()
    assert {probe.costs for probe in plan.probes} == {CostLevel.BRIEF}
    full = with_costs(plan, CostLevel.FULL)
    assert {probe.costs for probe in full.probes} == {CostLevel.FULL}
    assert with_costs(full, CostLevel.BRIEF) == plan
