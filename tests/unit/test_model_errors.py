"""The wording and the places of mistakes: tests/golden/errors/NAME.yaml gives NAME.txt.

``HOPLAB_GOLDEN=write python -m pytest tests/unit`` writes the expected files anew; read the diff.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import LabError, TopologyError, UsageError
from lab.model.load import load_topology
from tests.golden_file import GOLDEN, compare

ERRORS = GOLDEN / "errors"


@pytest.mark.parametrize("file", sorted(ERRORS.glob("*.yaml")), ids=lambda file: file.stem)
def test_mistakes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ERRORS)
    with pytest.raises(TopologyError) as caught:
        load_topology(f"./{file.name}", {})
    compare(file.with_suffix(".txt"), shown(caught.value))


def test_settings_are_part_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TopologyError) as caught:
        load_topology("vhost", {"queues": "9", "vhost": "perhaps"})
    assert [mistake.path for mistake in caught.value.mistakes] == [
        "guests[0].nics[0].vhost",
        "guests[0].nics[0].queues",
        "guests[0].nics[0].active",
        "expect.guest.queues",
    ]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("failover", {"abort": "maybe"}, "migration.abort: must be on or off"),
        ("failover", {"abort": "1"}, "migration.abort: must be on or off"),
        ("failover", {"vf_on_target": "1"}, "vf_on_target must be on or off"),
        ("sriov", {"guests": "3"}, "guests must be 1 or 2, not 3"),
        ("sriov", {"vf": "first"}, "vf must be a number from 0, not first"),
        ("macvtap", {"guests": "3"}, "guests must be 1 or 2, not 3"),
        ("macvtap", {"guests": "2", "mode": "passthru"}, "port uplink is already used"),
    ],
)
def test_settings_that_mean_nothing(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(TopologyError, match=message) as caught:
        load_topology(name, settings)
    assert len(caught.value.mistakes) == 1


@pytest.mark.parametrize(
    ("name", "settings", "message", "hint"),
    [
        ("vhots", {}, "there is no topology 'vhots'", "did you mean vhost? there are: "),
        ("vhost", {"queue": "2"}, "has no parameter 'queue'", "did you mean queues? parameters: "),
        ("./no-such.yaml", {}, "no-such.yaml: No such file or directory", ""),
        ("/tmp/", {}, "/tmp: Is a directory", ""),
    ],
    ids=["unknown name", "unknown parameter", "no file", "a folder"],
)
def test_not_even_a_file(name: str, settings: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_topology(name, settings)
    assert message in caught.value.message
    assert caught.value.hint.startswith(hint)
    assert caught.value.status == 2


def test_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"title: \xe4\n")
    with pytest.raises(TopologyError, match=r"is not UTF-8 text \(byte 7\)"):
        load_topology(str(file), {})


def shown(error: LabError) -> str:
    return "\n".join(error.lines()) + "\n"
