"""What is seen while something runs: the stages with their times.

On a terminal the current stage is alive, with a bar of bytes where there are any; elsewhere every
stage is one plain line.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lab.events import Event, Note, Stage

_NAME_WIDTH = 14
_PLAIN_STEPS = 4


class Screen:
    """Shows events as they come, for use in a ``with`` block."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._stages: list[tuple[str, float]] = []
        self._step = ""
        self._bytes = (0, 0)
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console,
            get_renderable=self._now,
            transient=True,
            auto_refresh=console.is_terminal,
            refresh_per_second=10,
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rest()
        if error is not None and self._stages:
            name, began = self._stages[-1]
            self._line("✗", "red", name, time.monotonic() - began, "")
        self._stages.clear()

    def rest(self) -> None:
        """Leave the terminal alone from here on."""
        self._live.stop()

    def event(self, event: Event) -> None:
        """Show a stage or a note; the rest is not for the eye."""
        if isinstance(event, Stage):
            self._stage(event)
        elif isinstance(event, Note):
            mark, style = ("!", "yellow") if event.warning else ("·", "dim")
            self.console.print(f"  {mark} {event.text}", style=style, markup=False, soft_wrap=True)

    def stage(self, name: str) -> None:
        """A step inside the current stage, as image builds report them."""
        self._step, self._bytes = name, (0, 0)
        if not self.console.is_terminal:
            self.console.print(f"    {name}", markup=False, highlight=False, soft_wrap=True)

    def bytes(self, done: int, total: int) -> None:
        """How far the current step has come."""
        before, self._bytes = self._bytes[0], (done, total)
        if self.console.is_terminal or not total:
            return
        if done * _PLAIN_STEPS // total > before * _PLAIN_STEPS // total:
            text = f"    {self._step}: {decimal(done)} of {decimal(total)}"
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _stage(self, stage: Stage) -> None:
        self._step, self._bytes = "", (0, 0)
        if stage.seconds is None:
            self._stages.append((stage.name, time.monotonic()))
            return
        self._stages = [(name, began) for name, began in self._stages if name != stage.name]
        self._line("✓", "green", stage.name, stage.seconds, stage.detail)

    def _line(self, mark: str, style: str, name: str, seconds: float, detail: str) -> None:
        text = Text("  ")
        text.append(mark, style=style)
        text.append(f" {name:<{_NAME_WIDTH}} {seconds:5.1f} s")
        text.append(f"  {detail}" if detail else "", style="dim")
        self.console.print(text, soft_wrap=True)

    def _now(self) -> RenderableType:
        """The line that is alive: the innermost open stage."""
        if not self._stages:
            return Text()
        name, began = self._stages[-1]
        grid = Table.grid(padding=(0, 1, 0, 0))
        done, total = self._bytes
        cells: list[RenderableType] = [Text(" "), self._spinner]
        cells.append(Text(f"{name:<{_NAME_WIDTH}} {time.monotonic() - began:5.1f} s"))
        cells.append(Text(self._step, style="dim"))
        if total:
            cells.append(ProgressBar(total=total, completed=done, width=14))
            cells.append(Text(f"{decimal(done)}/{decimal(total)}"))
        for _ in cells:
            grid.add_column(no_wrap=True)
        grid.add_row(*cells)
        return grid
