"""Where the seconds of ``lab run vhost`` go: booting its guest, and where one was kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Row, aimed, row
from bench.places import images, lab_run

TITLE = "lab run vhost, warm, stage by stage"
TIMES = 5
_MOST_SECONDS = 12.0


def run() -> Iterator[Row]:
    """Seconds of every stage, and of the whole run; one run before warms everything."""
    images()
    for options in (("--fresh",), ()):
        with tempfile.TemporaryDirectory() as folder:
            runs = [_timings(Path(folder, str(number)), options) for number in range(TIMES + 1)][1:]
        for stage in runs[0]:
            found = row(f"{stage} {' '.join(options)}", "s", [each[stage] for each in runs])
            if stage == "total":
                found = aimed(found, "<= 12 s", met=found.value <= _MOST_SECONDS)
            yield found


def _timings(out: Path, options: tuple[str, ...]) -> dict[str, float]:
    return lab_run("vhost", out, *options).timings
