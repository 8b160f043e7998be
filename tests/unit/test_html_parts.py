"""Plots, time lines, costs and the texts of others."""

from __future__ import annotations

import shlex
from xml.etree import ElementTree as ET

import pytest

from lab.report.costs import Costs, Count, Counted, ZeroLoss
from lab.report.html.costs import nic_costs
from lab.report.html.plots import Bar, Plot, Series, figures
from lab.report.html.text import folded, tail
from lab.report.html.timeline import RIGHT, timeline
from lab.report.life import Actor
from lab.report.plain import plain
from tests import pages

PLOT = Plot(
    key="p",
    title="Events <per> packet",
    unit="µs",
    categories=("exits", "calls"),
    series=(
        Series("ping-pong", (Bar(3.0, 2.5, 3.5), None)),
        Series("bursts", (Bar(0.0), Bar(1.0))),
    ),
)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter() if element.text]


def test_a_plot_is_bars_words_and_nothing_else() -> None:
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(PLOT.svg).iter()}
    assert tags == {"svg", "g", "rect", "path", "text", "title", "desc"}
    assert "style=" not in PLOT.svg


def test_a_plot_is_the_same_every_time() -> None:
    assert PLOT.svg == PLOT.svg


def test_a_plot_says_its_figures() -> None:
    assert PLOT.told == (
        "exits: ping-pong 3.00 µs, bursts 0.00 µs; calls: ping-pong not measured, bursts 1.00 µs"
    )
    assert {"Events <per> packet", PLOT.told, "exits", "3.00"} <= set(texts(PLOT.svg))


def test_a_plot_of_nothing_but_zeroes_can_be_drawn() -> None:
    plot = Plot("p", "t", "", ("a",), (Series("", (Bar(0.0),)),))
    assert "0.00" in texts(plot.svg)


def test_no_figure_on_an_axis_is_cut_short() -> None:
    names = ("host's devices", "interrupts injected", "a topology with a name that is too long")
    plot = Plot("p", "t", "", names, (Series("", (Bar(1.9, 0.5, 3.75),) * 3),))
    cut = [each for each in texts(plot.svg) if "…" in each]
    assert cut == ["a topology with a name t…"]


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0.00"), (3.14159, "3.14"), (14.04, "14.0"), (2300.2, "2,300")]
)
def test_figures_have_the_digits_that_mean_something(value: float, shown: str) -> None:
    assert figures(value) == shown


def test_costs_are_plotted_and_listed() -> None:
    costs = nic_costs("guest.net0", pages.costs())
    assert [plot.title for plot in costs.plots] == [
        "Events per packet",
        "CPU time per packet, µs",
        "Round trip, µs",
        "Rate without loss, packets/s",
        "TCP, Mbit/s of payload",
    ]
    assert costs.patterns == ("ping-pong", "bursts of 64 sent")
    rows = {figure.label: figure.values for figure in costs.figures}
    assert rows["exits, kernel only"] == ("2.31 (2.20 to 2.44)", "0.12 (0.00 to 0.20)")
    assert costs.not_measured == (("vfio_interrupts", "no device was passed through"),)


def test_a_figure_of_chance_says_so_but_for_times() -> None:
    chance = Count(mean=0.5, low=0, high=2, lower=0, upper=1)
    counts = {"exits_timing": chance, "cpu_qemu_us": chance, "kicks": Count(mean=1, low=1, high=1)}
    counted = Counted(pattern="ping-pong", windows=3, packets=4, counts=counts)
    found = nic_costs("guest.net0", Costs(counted=(counted,))).figures
    assert [figure.values for figure in found] == [
        ("≈0.50 (0.00 to 2.00)",),
        ("1.00",),
        ("0.50 (0.00 to 2.00)",),
    ]


def test_a_rate_that_the_tester_limits_is_a_least_one() -> None:
    rate = ZeroLoss(size=64, pps=5200, trials=9, tester_limited=True)
    (plot,) = nic_costs("guest.net0", Costs(zero_loss=(rate,))).plots
    assert plot.categories == ("64 bytes, at least",)


def test_a_life_fills_its_time_line() -> None:
    line = timeline(pages.life())
    assert [row.actor for row in line.rows] == [actor for actor in Actor if actor is not Actor.QEMU]
    assert line.stays[-1].x + line.stays[-1].width == pytest.approx(RIGHT, abs=0.2)
    assert sum(stay.width for stay in line.stays) == pytest.approx(348, abs=2)
    assert line.turn is not None
    numbers = [each.number for each in line.told if each.number]
    assert numbers == list(range(1, 10))


def test_a_lost_life_has_no_answer() -> None:
    assert timeline(pages.life(lost=True)).turn is None


def test_a_life_of_one_moment_can_be_drawn() -> None:
    short = pages.life().model_copy(update={"duration_ns": 0, "spans": ()})
    assert timeline(short).ticks


@pytest.mark.parametrize(
    "command",
    [
        "qemu-system-x86_64 -accel kvm -append 'console=ttyS0 quiet' -device a,b=c",
        "qemu",
        "sh -c 'a; b' -- -x",
    ],
)
def test_a_folded_command_is_the_same_to_a_shell(command: str) -> None:
    assert shlex.split(folded(command).replace("\\\n", "")) == shlex.split(command)


def test_a_line_that_is_no_command_is_left_alone() -> None:
    assert folded("it's") == "it's"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("a\r\nb\tc", "a\nb\tc"),
        ("bell\x07 nul\x00", "bell\u2407 nul\u2400"),
        ("del\x7f rtl\u202eevil", "del\ufffd rtl\ufffdevil"),
        ("mark\u200f line\u2028end", "mark\ufffd line\ufffdend"),
    ],
)
def test_what_cannot_be_seen_is_shown_or_gone(raw: str, shown: str) -> None:
    assert plain(raw) == shown


def test_a_long_log_shows_its_end() -> None:
    found = tail("dmesg.log", "\n".join(map(str, range(500))))
    assert (found.lines, found.total) == (120, 500)
    assert found.text.splitlines()[-1] == "499"


def test_the_word_at_the_turn_stays_inside() -> None:
    life = pages.life()
    late = life.spans[-1].model_copy(update={"begin_ns": life.duration_ns - 1})
    line = timeline(life.model_copy(update={"spans": (life.spans[0], late)}))
    assert line.turn is not None
    assert line.turn.anchor == "end"
