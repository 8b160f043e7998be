"""The ladder's document, and the quantities that it compares."""

from __future__ import annotations

import json

from lab.report.quantities import QUANTITIES, Group
from lab.report.rungs import Ladder, Measure, Rung
from lab.report.verdict import Outcome

MEASURE = Measure(rounds=(3.0, 3.1), mean=3.05, low=2.9, high=3.2)
RUNG = Rung(
    name="e1000", outcome=Outcome.PASS, status=0, measures={"ping-pong.exits_to_qemu": MEASURE}
)
LADDER = Ladder(
    outcome=Outcome.PASS,
    status=0,
    date="2026-01-01T12:00:00+00:00",
    cpu="a CPU",
    seconds=1.5,
    rounds=2,
    jobs=1,
    rungs=(RUNG,),
)


def test_the_document_is_the_ladder_and_names_its_schema() -> None:
    document = LADDER.document()
    assert json.loads(document)["schema"] == 1
    assert Ladder.model_validate_json(document) == LADDER


def test_a_rung_is_found_by_its_name() -> None:
    assert LADDER.rung("e1000") == RUNG
    assert LADDER.rung("nosuch") is None


def test_every_quantity_stands_once_and_in_a_group() -> None:
    keys = [quantity.key for quantity in QUANTITIES]
    assert len(set(keys)) == len(keys)
    assert {quantity.group for quantity in QUANTITIES} == set(Group)


def test_times_rates_and_cpu_times_depend_on_the_machine_and_counts_do_not() -> None:
    timed = {quantity.key for quantity in QUANTITIES if quantity.timed}
    assert {"time.p50_us", "rate.tcp_in", "burst.cpu_qemu_us"} <= timed
    assert not {"path.host_hops", "burst.kicks", "ping-pong.exits_to_qemu"} & timed
