"""Real namespaces, of the test's own: nothing of the machine is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.errors import CannotError
from lab.host.host import Host, open_host
from lab.host.operations import Operations
from lab.plan.data import Place


@pytest.fixture
def host() -> Iterator[Host]:
    try:
        opening = open_host(Place.HERE)
        with opening as host:
            yield host
    except CannotError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(error.message)


@pytest.fixture
def operations(host: Host) -> Operations:
    return Operations(host)
