"""The ladder as data: layers of the packet's path as rungs, what each cost, and how two compare.

This is the document that ``lab ladder --json`` prints (docs/ladder.md), schema 1. Nothing here is
measured or decided; `lab.report.measured`, `lab.report.ratio` and `lab.report.promises` do that.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field

from lab.data import Data
from lab.plan.data import Carrier, Place
from lab.report.result import Accelerators, ResultPath, Versions
from lab.report.verdict import Outcome


class Measure(Data):
    """One quantity of one rung: a value for each round, ``None`` for one that has none.

    ``middles`` is what the middle half of each round's windows spans; where nothing was counted in
    windows, the value twice. ``low`` and ``high`` span all windows of all rounds. A count is
    ``steady`` where the windows of each round agree, and the rounds do; otherwise chance has a part
    in it.
    """

    rounds: tuple[float | None, ...]
    middles: tuple[tuple[float, float] | None, ...] = ()
    mean: float
    low: float
    high: float
    steady: bool = True


class Rung(Data):
    """One layer, over all rounds.

    ``name`` is its topology's. ``above`` is the rung that it is compared with, ``None`` for one
    that there is nothing to compare with. ``measures`` are by the key of a `Quantity`, ``reasons``
    splits some of them further (exits by KVM's reason, system calls by name). ``paths`` are the
    marked probes of the last run that has any. ``not_measured`` says why, by a name without its
    group. ``problems`` are red checks and errors of its runs, ``folders`` where their results lie.
    """

    name: str
    title: str = ""
    above: str | None = None
    outcome: Outcome
    status: int
    accelerator: Accelerators = Accelerators()
    carrier: Carrier | None = None
    paths: tuple[ResultPath, ...] = ()
    measures: dict[str, Measure] = Field(default_factory=dict)
    reasons: dict[str, dict[str, float]] = Field(default_factory=dict)
    not_measured: dict[str, str] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


class Comparison(StrEnum):
    """How a quantity of a rung stands to that of the rung above, in words.

    ``as many`` is known to be so; ``cannot tell`` may be either.
    """

    FEWER = "fewer"
    MORE = "more"
    SAME = "as many"
    UNCLEAR = "cannot tell"
    NONE = "none in either"


class Ratio(Data):
    """A quantity of a rung over that of the rung above: 1 is no change, 0 is gone.

    The interval from ``low`` to ``high`` holds the ratio with 95 % confidence; both are ``None``
    where there are too few rounds for one. ``value`` is ``None`` where the rung above has none.
    """

    value: float | None
    low: float | None
    high: float | None
    verdict: Comparison


class Step(Data):
    """From one rung to the next: what became fewer, what more. Ratios by the key of a quantity."""

    upper: str
    lower: str
    ratios: dict[str, Ratio]


class Kept(Data):
    """Whether one promise of the theory was kept.

    ``pass`` is kept, ``fail`` a contradiction, ``error`` not measured though the rungs were run,
    ``skip`` not provable here.
    """

    name: str
    says: str
    upper: str
    lower: str
    quantity: str
    outcome: Outcome
    observed: str


class Flag(Data):
    """A layer whose guest should not be stopped for QEMU, and is.

    ``per_packet`` is the most of any round's middle half of windows, ``reasons`` split the mean.
    """

    rung: str
    quantity: str
    per_packet: float
    reasons: dict[str, float]


class Ladder(Data):
    """All rungs, what lies between them, and what the theory says about it.

    ``status`` is 0 where every run passed and every promise was kept. ``seconds`` is how long all
    of it took with ``jobs`` runs at a time; ``date`` is ISO 8601, ``cpu`` the machine's own word.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: Literal[1] = Field(default=1, alias="schema")
    outcome: Outcome
    status: int
    date: str
    cpu: str
    seconds: float
    rounds: int
    jobs: int
    place: Place = Place.LABHOST
    versions: Versions = Versions()
    rungs: tuple[Rung, ...]
    steps: tuple[Step, ...] = ()
    promises: tuple[Kept, ...] = ()
    flags: tuple[Flag, ...] = ()

    def document(self) -> str:
        """The JSON text."""
        return self.model_dump_json(by_alias=True, indent=2)

    def rung(self, name: str) -> Rung | None:
        """The rung of that name, if there is one."""
        return next((rung for rung in self.rungs if rung.name == name), None)
