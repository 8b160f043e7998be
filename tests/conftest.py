"""What a test needs and this user may not have is skipped; where root runs CI, it fails."""

from __future__ import annotations

import os
import subprocess
from functools import cache

import pytest

NEEDS_ROOT = "needs a network namespace, and root to enter it"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not item.get_closest_marker("netns") or _can_have_a_namespace():
        return
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(NEEDS_ROOT, pytrace=False)
    pytest.skip(NEEDS_ROOT)


@cache
def _can_have_a_namespace() -> bool:
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return made.returncode == 0
