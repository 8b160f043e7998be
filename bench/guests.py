"""One to sixteen guests on one bridge of this machine, each with all its proofs; needs root."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Row, row
from bench.places import images, lab_run
from lab.report.result import Result

TITLE = "guests on one bridge (--on here)"
NUMBERS = (1, 2, 4, 8, 16)


def run() -> Iterator[Row]:
    """Seconds of each run, of its guests' boots, and what one guest more costs."""
    images()
    with tempfile.TemporaryDirectory() as folder:
        runs = {number: _run(number, Path(folder)) for number in NUMBERS}
    for number, result in runs.items():
        yield row(f"{number} guests, the whole run", "s", [result.timings["total"]])
        yield row(f"{number} guests, their boots", "s", [result.timings["guest"]])
    first, last = runs[NUMBERS[0]].timings["total"], runs[NUMBERS[-1]].timings["total"]
    yield row("one guest more", "s", [(last - first) / (NUMBERS[-1] - NUMBERS[0])])


def _run(number: int, folder: Path) -> Result:
    file = folder / f"bridge-{number}.yaml"
    file.write_text(topology(number))
    return lab_run(str(file), folder / str(number), "--on", "here")


def topology(number: int) -> str:
    """A topology file of so many guests on one bridge, carried by QEMU itself."""
    guests = "".join(
        f"  - name: guest{index}\n"
        "    memory: 192\n"
        "    nics:\n"
        "      - {bridge: br0, model: virtio-net-pci, vhost: off}\n"
        for index in range(number)
    )
    expected = "".join(
        f"  guest{index}:\n"
        "    driver: virtio_net\n"
        "    carrier: qemu\n"
        "    hops: [wire, uplink, br0, tap, guest]\n"
        for index in range(number)
    )
    return (
        f"topology: bridge-{number}\n"
        f"title: {number} guests on one bridge\n"
        "bridges:\n  - {name: br0, uplink: uplink}\n"
        f"guests:\n{guests}"
        f"expect:\n{expected}"
    )
