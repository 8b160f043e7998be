"""The verdict: what was expected, what was seen, and how the two stand to each other."""

from __future__ import annotations

from enum import StrEnum

from lab.data import Data

LEFT_BEHIND = "left-behind"
"""Name of the check that has an exit status of its own."""


class Outcome(StrEnum):
    """How a check or a run ended, from best to worst; the worst check decides.

    ``skip`` is a check that another red check makes meaningless, or that this place cannot prove.
    ``error`` is an expectation without evidence: worse than ``fail``, because nobody knows.
    """

    PASS = "pass"  # noqa: S105  an outcome, not a password
    SKIP = "skip"
    FAIL = "fail"
    ERROR = "error"

    # All four: the ones that are left out would come from `str` and compare by letter.
    def __lt__(self, other: str) -> bool:
        return self.rank < Outcome(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Outcome(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Outcome(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Outcome(other).rank

    @property
    def rank(self) -> int:
        """0 is best."""
        return list(Outcome).index(self)

    @property
    def green(self) -> bool:
        """Whether there is nothing to worry about."""
        return self <= Outcome.SKIP


class Check(Data):
    """One expectation held against what was observed.

    ``evidence`` names the artifact in the results folder that shows it.
    """

    name: str
    outcome: Outcome
    expected: str
    observed: str
    evidence: str


class Verdict(Data):
    """All checks of one run."""

    checks: tuple[Check, ...]

    @property
    def outcome(self) -> Outcome:
        """That of the worst check; without a single check there is no evidence of anything.

        Checks that were skipped do not count beside one that passed.
        """
        outcomes = {check.outcome for check in self.checks}
        if Outcome.PASS in outcomes:
            outcomes.discard(Outcome.SKIP)
        return max(outcomes, default=Outcome.ERROR)

    @property
    def red(self) -> tuple[Check, ...]:
        """The checks that failed or could not be made, in order."""
        return tuple(check for check in self.checks if not check.outcome.green)

    @property
    def status(self) -> int:
        """The exit status of the run: 0 all passed, 1 an expectation failed, 5 left behind."""
        if any(check.name == LEFT_BEHIND for check in self.red):
            return 5
        return 0 if self.outcome.green else 1
