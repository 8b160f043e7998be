"""Several topologies at once: what becomes of their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.batch import BatchRequest, batch_of, run_batch
from lab.errors import CannotError, LabError, LeftBehindError, UsageError
from lab.plan.data import Place
from lab.report.result import Result, failed_result
from lab.report.verdict import Outcome

PASSED = Result(topology="a", outcome=Outcome.PASS, status=0)


def failed(error: LabError) -> Result:
    return failed_result("b", Place.HERE, error)


@pytest.mark.parametrize(
    ("results", "outcome", "status"),
    [
        ([PASSED, PASSED], Outcome.PASS, 0),
        ([PASSED, failed(CannotError("no"))], Outcome.ERROR, 3),
        ([failed(LeftBehindError("a tap")), failed(CannotError("no")), PASSED], Outcome.ERROR, 5),
        ([], Outcome.ERROR, 1),
    ],
    ids=["all passed", "one cannot", "one left something", "none"],
)
def test_the_worst_decides(results: list[Result], outcome: Outcome, status: int) -> None:
    batch = batch_of(results, 1.0)
    assert (batch.outcome, batch.status) == (outcome, status)
    assert '"schema": 1' in batch.document()


def test_each_is_told_and_the_order_is_kept() -> None:
    begun: list[str] = []
    told: list[str] = []
    request = BatchRequest(topologies=("nosuch", "neither"))
    results = run_batch(request, begun.append, lambda result: told.append(result.topology))
    assert [result.topology for result in results] == ["nosuch", "neither"]
    assert [result.status for result in results] == [UsageError.status] * 2
    assert sorted(begun) == sorted(told) == ["neither", "nosuch"]


def test_a_run_imports_nothing_from_the_folder_it_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    (result,) = run_batch(
        BatchRequest(topologies=("nosuch",)), lambda _topology: None, lambda _result: None
    )
    assert result.status == UsageError.status
