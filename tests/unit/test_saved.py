"""What a run leaves in its folder, and what is read from there again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.cli.main import status
from lab.errors import CannotError, LabError, StartError, UsageError
from lab.events import Event
from lab.plan.data import Place
from lab.record import Record
from lab.report.result import Result, failed_result
from lab.results import ResultsFolder
from lab.saved import read, save, save_ladder, saved_when_failed
from tests import pages, sample
from tests.unprivileged import closed


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    made = ResultsFolder(tmp_path / "run", "vhost")
    made.write("dmesg.log", b"br0: port 1 entered\n")
    made.write("evidence.json", sample.evidence().model_dump_json().encode())
    return made


class Silent:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    def event(self, event: Event) -> None:
        self.told.append(event)

    def stage(self, name: str) -> None: ...

    def bytes(self, done: int, total: int) -> None: ...


def test_the_page_can_be_made_again_from_the_folder(folder: ResultsFolder) -> None:
    result = save(pages.full(), sample.evidence(), folder)
    assert {"result.json", "report.html", "dmesg.log"} <= result.artifacts.keys()
    written = (folder.path / "report.html").read_text()
    assert "br0: port 1 entered" in written
    assert read(folder.path).page() == written


def test_a_folder_that_was_moved_still_makes_the_same_page(
    folder: ResultsFolder, tmp_path: Path
) -> None:
    save(pages.full(), sample.evidence(), folder)
    moved = tmp_path / "elsewhere"
    shutil.move(folder.path, moved)
    saved = read(moved)
    assert saved.page() == (moved / "report.html").read_text()
    assert saved.result.artifacts["dmesg.log"] == str(moved / "dmesg.log")


def test_logs_of_an_earlier_run_are_not_told(folder: ResultsFolder) -> None:
    (folder.path / "guest-console.log").write_text("of yesterday")
    save(pages.full(), sample.evidence(), folder)
    assert read(folder.path).texts.keys() == {"dmesg.log"}


def test_a_run_without_evidence_can_be_read(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "run", "vhost")
    save(pages.dead(), None, folder)
    assert read(folder.path).evidence is None


def test_no_results_folder_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no result\.json"):
        read(tmp_path)


def test_a_result_of_another_version_is_refused_with_the_place(folder: ResultsFolder) -> None:
    save(pages.full(), sample.evidence(), folder)
    (folder.path / "result.json").write_text('{"schema": 2}')
    with pytest.raises(UsageError, match=r"result\.json is not what this lab writes: schema"):
        read(folder.path)


def ended(error: LabError) -> Result:
    return failed_result("vhost", Place.LABHOST, error)


def test_a_run_that_ends_early_is_reported(folder: ResultsFolder) -> None:
    listener, told = Silent(), list[Result]()
    record = Record(listener)
    with pytest.raises(StartError), saved_when_failed(folder, record, ended, told.append):
        raise StartError("guest ended early", output="Kernel panic")
    saved = read(folder.path)
    assert saved.result.error is not None
    assert told == [saved.result]
    assert "Kernel panic" in (folder.path / "report.html").read_text()
    assert "report.html" in str(listener.told[-1])


def test_a_run_of_which_nothing_came_leaves_no_folder(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "run", "vhost")
    told: list[Result] = []
    record = Record(Silent())
    with pytest.raises(StartError), saved_when_failed(folder, record, ended, told.append):
        raise StartError("no lab host")
    assert not folder.path.exists()
    assert [result.status for result in told] == [StartError.status]


def test_lab_report_shows_a_run_again(
    folder: ResultsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    save(pages.full(), sample.evidence(), folder)
    assert status(["report", str(folder.path)]) == 0
    assert "PASS  vhost" in capsys.readouterr().out


def test_lab_report_writes_the_page_elsewhere(
    folder: ResultsFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(pages.full(), sample.evidence(), folder)
    page = tmp_path / "page.html"
    assert status(["report", str(folder.path), "--html", str(page)]) == 0
    assert 'href="run/capture.pcapng"' not in page.read_text()
    assert 'href="run/dmesg.log"' in page.read_text()
    assert capsys.readouterr().out.strip() == str(page)


@pytest.fixture
def climbed(tmp_path: Path) -> Path:
    """The folder of a ladder, moved since."""
    made = ResultsFolder(tmp_path / "made", "ladder")
    runs = [
        rung.model_copy(update={"folders": (str(made.path / f"1-{rung.name}"),)})
        for rung in pages.ladder().rungs
    ]
    for rung in runs:
        page = Path(rung.folders[0], "report.html")
        page.parent.mkdir(parents=True)
        page.write_text("a run")
    save_ladder(pages.ladder().model_copy(update={"rungs": tuple(runs)}), made)
    return Path(shutil.move(made.path, tmp_path / "moved"))


def test_the_page_of_a_ladder_leads_to_its_runs(climbed: Path) -> None:
    assert 'href="1-vhost/report.html"' in (climbed / "report.html").read_text()


def test_lab_report_shows_a_ladder_again(climbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["report", str(climbed)]) == 0
    assert f"{climbed}/" in capsys.readouterr().out


def test_lab_report_makes_the_page_of_a_ladder_elsewhere(climbed: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert status(["report", str(climbed), "--html", str(page)]) == 0
    assert 'href="moved/1-vhost/report.html"' in page.read_text()


@pytest.mark.parametrize(
    "place", ["run", "run/dmesg.log/page.html"], ids=["folder", "below a file"]
)
def test_lab_report_cannot_write_everywhere(
    place: str, folder: ResultsFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(pages.full(), sample.evidence(), folder)
    assert status(["report", str(folder.path), "--html", str(tmp_path / place)]) == 3
    assert "is not yours to write to" in capsys.readouterr().err


def test_a_page_below_folders_that_are_not_there_yet_is_written(
    folder: ResultsFolder, tmp_path: Path
) -> None:
    save(pages.full(), sample.evidence(), folder)
    page = tmp_path / "new" / "pages" / "run.html"
    assert status(["report", str(folder.path), "--html", str(page)]) == 0
    assert 'href="../../run/dmesg.log"' in page.read_text()


def test_a_ladder_is_not_climbed_for_a_page_that_cannot_be_written(
    folder: ResultsFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    save(pages.full(), sample.evidence(), folder)
    assert status(["ladder", "vhost", "--html", str(folder.path)]) == 3
    assert "is not yours to write to" in capsys.readouterr().err


def test_a_folder_that_one_may_not_enter_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closed(tmp_path / "closed") as folder:
        assert status(["report", str(folder)]) == UsageError.status
        assert "closed/ladder.json cannot be read: Permission denied" in capsys.readouterr().err
        page = str(folder / "page.html")
        assert status(["report", str(tmp_path), "--html", page]) == CannotError.status
        assert "closed is not yours to write to" in capsys.readouterr().err
