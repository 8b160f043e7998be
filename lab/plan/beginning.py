"""What a run does until its proofs begin: two plans with the same beginning build the same."""

from __future__ import annotations

from lab.plan.data import Place, Plan


def beginning(plan: Plan) -> str | None:
    """All of a plan that counts before its proofs, as text; None where it cannot be kept.

    A lab host is saved with its guests where it has all of their state. That of a function which is
    passed through lies in the NIC that QEMU plays, and of an igb's VFs QEMU saves none.
    """
    if plan.facts.place is not Place.LABHOST or any(guest.has_function for guest in plan.guests):
        return None
    later = {"probes": (), "expectations": (), "questions": (), "trace": None}
    return plan.model_copy(update=later).model_dump_json()
