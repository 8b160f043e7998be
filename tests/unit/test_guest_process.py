"""What becomes of the CPUs that a started program may run on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lab.guest.process import on_cpu

_ASK = "import os; print(*sorted(os.sched_getaffinity(0)))"
_NO_CPU = 1 << 12


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        (max(os.sched_getaffinity(0)), {max(os.sched_getaffinity(0))}),
        (_NO_CPU, os.sched_getaffinity(0)),
        (None, os.sched_getaffinity(0)),
    ],
    ids=["one", "none-of-this-number", "any"],
)
def test_a_program_stays_on_the_cpu_that_it_is_started_on(
    cpu: int | None, expected: set[int]
) -> None:
    before = os.sched_getaffinity(0)
    with on_cpu(cpu):
        done = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, text=True, check=True
        )
    assert set(map(int, done.stdout.split())) == expected
    assert os.sched_getaffinity(0) == before
