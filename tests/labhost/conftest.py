"""Fixtures for tests that make whole runs (`tests.labhost.runs` looks at many of them)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.images.build import ensure
from lab.images.progress import Silent
from tests.labhost.runs import ROOT, Outcome, started


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A runtime folder of the test's own, to see what is left in it."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    return {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def _outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """The runs of all selected tests, under way: in the order of the tests, which wait for them."""
    for name in ("labhost", "guest"):
        ensure(name, Silent())
    wanted = [
        str(item.callspec.params["words"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and "_outcomes" in item.fixturenames
    ]
    pool = ThreadPoolExecutor(2, "run")
    try:
        yield started(wanted, pool, tmp_path_factory.mktemp("runs"))
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def outcome(_outcomes: dict[str, Future[Outcome]], words: str) -> Outcome:
    """What came of the run that the parameter ``words`` names."""
    return _outcomes[words].result()
