"""The results folder: one run's alone, and gone with a run of which nothing is to stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import results
from lab.errors import CannotError, UsageError
from lab.results import ResultsFolder, open_results
from tests.unprivileged import closed


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs begin in the same second."""

    class Clock:
        @staticmethod
        def now() -> Clock:
            return Clock()

        def astimezone(self) -> Clock:
            return self

        def strftime(self, _format: str) -> str:
            return "20261123-094719"

    monkeypatch.setattr(results, "datetime", Clock)


@pytest.mark.usefixtures("_one_second")
def test_two_runs_that_begin_in_the_same_second_have_a_folder_each() -> None:
    one, two = ResultsFolder(None, "vhost"), ResultsFolder(None, "vhost")
    one.write("result.json", b"one")
    two.write("result.json", b"two")
    assert (one.path / "result.json").read_bytes() == b"one"
    assert (two.path / "result.json").read_bytes() == b"two"
    two.discard()
    assert (one.path / "result.json").read_bytes() == b"one"
    assert not two.path.exists()


def test_a_folder_that_the_user_names_may_be_there_already(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    folder = ResultsFolder(Path("out"), "vhost")
    folder.write("result.json", b"")
    folder.discard()
    assert (tmp_path / "out").is_dir()


def run(folder: ResultsFolder, *, with_results: bool) -> None:
    folder.make()
    if with_results:
        (folder.path / "1-vhost").mkdir()
    raise KeyboardInterrupt


@pytest.mark.parametrize("with_results", [False, True])
def test_an_interrupted_ladder_leaves_what_its_runs_left(with_results: bool) -> None:
    with pytest.raises(KeyboardInterrupt), open_results(None, "ladder") as folder:
        run(folder, with_results=with_results)
    assert Path("lab-results").exists() is with_results


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    folder = ResultsFolder(Path("a/b"), "vhost")
    (tmp_path / "a").write_text("a file by now")
    with pytest.raises(CannotError, match="a/b cannot be made: Not a directory"):
        folder.make()


def test_a_folder_that_one_may_not_enter_is_told(tmp_path: Path) -> None:
    with (
        closed(tmp_path / "closed") as folder,
        pytest.raises(UsageError, match="closed is no folder of yours"),
    ):
        ResultsFolder(folder / "out", "vhost")
