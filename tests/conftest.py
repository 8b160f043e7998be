"""What a test needs and this machine lacks is skipped; where CI=true promises it, it fails."""

from __future__ import annotations

import os
import subprocess
from functools import cache

import pytest

NEEDS_NAMESPACE = "needs root or unprivileged user namespaces"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("netns") and not _can_have_a_namespace():
        if os.environ.get("CI") == "true":
            pytest.fail(NEEDS_NAMESPACE, pytrace=False)
        pytest.skip(NEEDS_NAMESPACE)


@cache
def _can_have_a_namespace() -> bool:
    enter = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--net", "-r"]
    return subprocess.run([*enter, "true"], capture_output=True, check=False).returncode == 0
