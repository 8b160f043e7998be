"""Where the seconds of ``lab run vhost`` go."""

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
    with tempfile.TemporaryDirectory() as folder:
        runs = [lab_run("vhost", Path(folder, str(number))) for number in range(TIMES + 1)][1:]
    for stage in runs[0].timings:
        found = row(stage, "s", [each.timings[stage] for each in runs])
        if stage == "total":
            found = aimed(found, "<= 12 s", met=found.value <= _MOST_SECONDS)
        yield found
