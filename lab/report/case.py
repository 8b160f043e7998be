"""What a check works on, and how it becomes an outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.errors import LabError
from lab.evidence.carrier import CarrierEvidence
from lab.evidence.guest import NicEvidence
from lab.evidence.packets import Exchange
from lab.evidence.whole import Evidence
from lab.plan.data import Direction, Expectation, Plan, ProbePlan
from lab.report.path import Path, paths_of
from lab.report.verdict import Check, Outcome


class MissingError(LabError):
    """An expectation has no evidence; the message says what is missing."""


@dataclass(frozen=True)
class Finding:
    """What a check found; ``good`` is ``None`` where another check's red makes it meaningless."""

    good: bool | None
    observed: str


def check(name: str, expected: str, evidence: str, look: Callable[[], Finding]) -> Check:
    """Make one check; a MissingError of ``look`` is an error, never a pass."""
    outcomes = {True: Outcome.PASS, False: Outcome.FAIL, None: Outcome.SKIP}
    try:
        finding = look()
    except MissingError as error:
        outcome, observed = Outcome.ERROR, f"no evidence: {error.message}"
    else:
        outcome, observed = outcomes[finding.good], finding.observed
    return Check(
        name=name, outcome=outcome, expected=expected, observed=observed, evidence=evidence
    )


@dataclass(frozen=True)
class Case:
    """One NIC with what its topology expects and what was seen.

    ``prefix`` stands before the names of its checks where there is more than one NIC. All methods
    raise MissingError where there is nothing to return.
    """

    plan: Plan
    evidence: Evidence
    expectation: Expectation
    prefix: str

    @property
    def key(self) -> tuple[str, str]:
        """Guest and NIC."""
        return self.expectation.guest, self.expectation.nic

    @property
    def alone(self) -> bool:
        """Whether the guest has no other NIC, not even the VF that this one stands by for."""
        guest = self.expectation.guest
        only = sum(other.guest == guest for other in self.plan.expectations) == 1
        return only and not self._stands_by

    @property
    def _stands_by(self) -> bool:
        return any(
            nic.failover
            for guest in self.plan.guests
            for nic in guest.nics
            if (guest.name, nic.id) == self.key
        )

    def exchanges(self, protocol: str, *directions: Direction) -> tuple[Exchange, ...]:
        """Exchanges of one protocol in which packets were sent."""
        found = tuple(
            exchange
            for exchange in self.evidence.exchanges
            if (exchange.guest, exchange.nic) == self.key
            and exchange.protocol == protocol
            and exchange.direction in directions
            and exchange.sent
        )
        if not found:
            raise MissingError(
                f"no {protocol} packet was sent on the way {' or '.join(directions)}"
            )
        return found

    def path(self, direction: Direction) -> Path:
        """The marked probe's way in one direction."""
        for path in paths_of(self.expectation, self.evidence):
            if path.direction is direction:
                return path
        raise MissingError("no marked probe was recorded")

    def probe_plan(self) -> ProbePlan:
        """What was to be sent."""
        for probe in self.plan.probes:
            if (probe.guest, probe.nic) == self.key:
                return probe
        raise MissingError("the plan sends no packets to this NIC")

    def nic(self) -> NicEvidence:
        """What the guest said of this NIC."""
        for guest in self.evidence.guests:
            for nic in guest.nics:
                if (guest.name, nic.id) == self.key:
                    return nic
        raise MissingError("the guest agent said nothing of this NIC")

    def carrier(self) -> CarrierEvidence:
        """Who moved this NIC's packets, from a window with packets in it."""
        for carrier in self.evidence.carriers:
            if (carrier.guest, carrier.nic) == self.key:
                if carrier.missing:
                    raise MissingError("; ".join(carrier.missing))
                if not carrier.round_trips:
                    raise MissingError("no packet crossed while the carrier was counted")
                return carrier
        raise MissingError("nobody counted who moves the packets")
