"""Bars as SVG by pygal; how they look is up to the page's own style, so that it fits by day and
night. What pygal adds for a page of its own (script, style, tooltips, the date) is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pygal
from markupsafe import Markup
from pygal.util import truncate

from lab.report.plain import plain

WIDTH = 360
_JUNK = {"comment", "defs", "script", "style", "title", "desc"}
_ASIDES = {"tooltip-overlay", "legends", "titles", "background"}
_LINE, _ROOM, _LABEL = 18, 12, 12
# Names may be as long as they like. Left to itself, pygal does not cut them but the axis's figures.
_LONGEST = 25


@dataclass(frozen=True)
class Bar:
    """A mean with the least and the most that it was made of, where there was more than one."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One bar in each category; ``None`` where it was not measured."""

    name: str
    bars: tuple[Bar | None, ...]


@dataclass(frozen=True)
class Plot:
    """Horizontal bars in categories, from zero on, with whiskers from least to most."""

    key: str
    title: str
    unit: str
    categories: tuple[str, ...]
    series: tuple[Series, ...]

    @property
    def told(self) -> str:
        """The same in words, for who cannot see it."""
        return "; ".join(
            f"{category}: " + ", ".join(self._word(series, index) for series in self.series)
            for index, category in enumerate(self.categories)
        )

    def _word(self, series: Series, index: int) -> str:
        bar = series.bars[index]
        figure = f"{figures(bar.mean)} {self.unit}".strip() if bar else "not measured"
        return f"{series.name} {figure}" if len(self.series) > 1 else figure

    @property
    def svg(self) -> Markup:
        """The drawing; all text in it is escaped by the XML library, which lets controls pass."""
        root = _chart(self).render_tree()
        _strip(root)
        _align(root)
        _explain(root, self)
        return Markup(plain(ET.tostring(root, encoding="unicode")))  # noqa: S704


def figures(value: float) -> str:
    """A number with as many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _chart(plot: Plot) -> pygal.HorizontalBar:
    lines = len(plot.categories) * len(plot.series)
    chart = pygal.HorizontalBar(
        css=[],
        js=[],
        width=WIDTH,
        height=lines * _LINE + len(plot.categories) * _ROOM + 34,
        margin=4,
        margin_left=12,
        margin_right=52,
        spacing=4,
        show_legend=False,
        show_x_guides=False,
        show_y_guides=True,
        print_values=True,
        print_values_position="top",
        print_zeroes=True,
        max_scale=5,
        truncate_label=_LONGEST,
        zero=0,
        range=(0, _most(plot)),
        formatter=figures,
        style=pygal.style.Style(
            label_font_size=_LABEL, major_label_font_size=_LABEL, value_font_size=_LABEL
        ),
    )
    # pygal's categories begin at the bottom, its series within them at the top.
    chart.x_labels = [truncate(each, _LONGEST) for each in plot.categories[::-1]]
    for series in plot.series:
        chart.add(series.name, [_value(bar) for bar in series.bars[::-1]])
    return chart


def _most(plot: Plot) -> float:
    """The end of the axis; an axis from nothing to nothing cannot be drawn."""
    bars = [bar for series in plot.series for bar in series.bars if bar]
    most = max((max(bar.mean, bar.high if bar.high is not None else 0) for bar in bars), default=0)
    return most if most > 0 else 1


def _value(bar: Bar | None) -> dict[str, object] | None:
    if bar is None:
        return None
    if bar.low is None or bar.high is None or bar.low == bar.high:
        return {"value": bar.mean}
    return {"value": bar.mean, "ci": {"low": bar.low, "high": bar.high}}


def _strip(root: ET.Element) -> None:
    """Leave what is drawn: no script, style, tooltips, numbers for a script, nor comments."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _name(child) in _JUNK or _is_aside(child):
                parent.remove(child)
    for element in root.iter():
        for attribute in ("id", "style"):
            element.attrib.pop(attribute, None)


def _is_aside(element: ET.Element) -> bool:
    return bool(_ASIDES & set(element.get("class", "").split()))


def _name(element: ET.Element) -> str:
    """The tag without its namespace; a comment has the function that made it for a tag."""
    tag: object = element.tag
    return "comment" if tag is ET.Comment else str(tag).rpartition("}")[2]


def _explain(root: ET.Element, plot: Plot) -> None:
    """A title and a description instead of pygal's own."""
    title = ET.Element("title", id=f"{plot.key}-title")
    told = ET.Element("desc", id=f"{plot.key}-desc")
    title.text, told.text = plot.title, plot.told
    root[:0] = [title, told]
    root.set("class", "plot")
    root.set("role", "img")
    root.set("aria-labelledby", f"{plot.key}-title {plot.key}-desc")


def _align(root: ET.Element) -> None:
    """Values in a column of their own, where no whisker crosses them."""
    offset = next(
        float(group.get("transform", "").removeprefix("translate(").partition(",")[0])
        for group in root.iter()
        if "plot" in group.get("class", "").split()
    )
    for text in root.iter():
        if text.get("class") == "value":
            text.set("x", f"{WIDTH - offset - 2:.0f}")
            text.set("text-anchor", "end")
