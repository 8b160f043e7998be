"""The benchmarks' own arithmetic and files; what they measure is measured by running them."""

from __future__ import annotations

import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.__main__ import DOCS, NAMES
from bench.figures import Finding, Findings, aimed, at_most, difference, markdown, placed, row
from bench.guests import NUMBERS, topology
from lab.errors import CannotError, StartError
from lab.model.load import load_topology


def test_a_figure_is_the_median_with_its_ends() -> None:
    found = row("boot", "s", [3.0, 1.0, 2.0])
    assert (found.value, found.low, found.high, found.samples) == (2.0, 1.0, 3.0, 3)


@pytest.mark.parametrize(
    ("number", "low", "high"),
    [(1, 0, 0), (5, 0, 4), (6, 0, 5), (8, 0, 7), (9, 1, 7), (10, 1, 8), (12, 2, 9), (15, 3, 11)],
)
def test_a_difference_has_the_interval_of_the_sign_test(number: int, low: int, high: int) -> None:
    """The ranks are those of any table of it, for 0.95."""
    found = difference("more", "s", [(float(value), 0.0) for value in range(number)])
    assert (found.value, found.low, found.high) == ((number - 1) / 2, low, high)


@pytest.mark.parametrize(
    ("gains", "met"), [((0.01, 0.02), True), ((0.2, 0.3), False), ((0.01, 0.2), None)]
)
def test_an_interval_on_both_sides_of_the_aim_does_not_tell(
    gains: tuple[float, ...], met: bool | None
) -> None:
    found = at_most(difference("more", "s", [(gain, 0.0) for gain in gains]), 0.1)
    assert (found.aim, found.met) == ("<= 0.1 s", met)


def test_a_missed_aim_is_shown() -> None:
    missed = aimed(row("boot", "s", [3.0]), "<= 1 s", met=False)
    finding = Finding(title="boots", date="a day", machine="a CPU", seconds=2, rows=(missed,))
    text = markdown(Findings(findings={"boot": finding}))
    assert "| boot | 3.00 s | 3.00 | 3.00 | 1 | <= 1 s: **missed** |" in text


def test_the_tables_take_the_place_of_the_last_ones() -> None:
    page = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
    text = placed(page, "new\n")
    assert text == "before\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nafter\n"
    assert placed(text, "new\n") == text


def test_a_page_without_a_place_for_them_is_an_error() -> None:
    with pytest.raises(ValueError, match="figures"):
        placed("nothing", "new")


def test_the_page_holds_the_figures_that_programs_read() -> None:
    file, page = DOCS / "performance.json", DOCS / "performance.md"
    findings = Findings.model_validate_json(file.read_bytes())
    assert page.read_text() == placed(page.read_text(), markdown(findings))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CannotError("no KVM"), CannotError.status),
        (FileNotFoundError(2, "No such file", "vng"), StartError.status),
        (subprocess.CalledProcessError(1, ["vng"]), StartError.status),
        (subprocess.TimeoutExpired(["vng"], 60), StartError.status),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_one_that_cannot_be_had_stops_nothing(
    error: Exception,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = Finding(title="good", date="a day", machine="a CPU", seconds=1, rows=())
    kept: list[str] = []

    def run(name: str) -> Finding:
        if name == NAMES[0]:
            raise error
        return good

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(bench, "keep", lambda name, _: kept.append(name))
    assert bench.main(list(NAMES[:2])) == status
    assert kept == [NAMES[1]]
    assert f"{NAMES[0]}:" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_a_title_and_rows(name: str) -> None:
    module = import_module(f"bench.{name}")
    assert module.TITLE
    assert callable(module.run)


@pytest.mark.parametrize("number", NUMBERS)
def test_so_many_guests_are_one_good_topology(number: int, tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(topology(number))
    loaded = load_topology(str(file), {})
    assert len(loaded.guests) == number
