"""Topology + facts of the place -> plan. Pure: nothing is looked at, opened or started."""

from __future__ import annotations

from lab.model.topology import Topology
from lab.plan.argv import guest_plan
from lab.plan.data import Facts, Plan
from lab.plan.links import operations
from lab.plan.migration import migration
from lab.plan.proof import expectations, probes
from lab.plan.questions import questions
from lab.plan.wiring import Wiring


def build(topology: Topology, facts: Facts) -> Plan:
    """Decide everything. Raises CannotError when the place lacks what the topology asks for."""
    wiring = Wiring(topology, facts)
    return Plan(
        topology=topology.topology,
        title=topology.title,
        facts=facts,
        operations=operations(wiring),
        guests=tuple(guest_plan(wiring, guest) for guest in topology.guests),
        probes=probes(wiring),
        expectations=expectations(wiring),
        migration=migration(wiring),
        questions=questions(wiring),
    )
