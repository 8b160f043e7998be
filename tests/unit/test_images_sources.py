"""Which mirror a system's package sources give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.errors import CannotError
from lab.images import sources
from lab.images.sources import Mirror, Target

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="apt-get is not installed")

ONE_LINE = """\
deb http://mirror.example/debian bookworm main contrib
deb http://mirror.example/debian bookworm-updates main
deb [arch=amd64] http://secure.example/debian-security bookworm-security main
"""
DEB822 = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://secure.example/debian-security
Suites: bookworm-security
Components: main
"""
STRANGERS = """\
deb http://docker.example/linux/debian bookworm stable
deb http://pgdg.example/pub/repos/apt bookworm-pgdg main
deb http://grafana.example stable main
deb http://mirror.example/debian trixie main
"""
UBUNTU = "deb http://archive.example/ubuntu noble main universe\n"


def apt_with(folder: Path, name: str, text: str) -> tuple[str, ...]:
    """An apt-get that sees one sources file and has no index fetched."""
    for part in ("etc/sources.list.d", "state/lists/partial", "cache"):
        (folder / part).mkdir(parents=True)
    (folder / "etc" / name).write_text(text)
    settings = (
        f"Dir::Etc={folder}/etc",
        f"Dir::State={folder}/state",
        f"Dir::Cache={folder}/cache",
    )
    return ("apt-get", *(part for setting in settings for part in ("-o", setting)))


@needs_apt
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param(
            "sources.list",
            ONE_LINE,
            Mirror("http://mirror.example/debian/", "http://secure.example/debian-security/"),
            id="one-line",
        ),
        pytest.param(
            "sources.list.d/debian.sources",
            DEB822,
            Mirror("http://mirror.example/debian/", "http://secure.example/debian-security/"),
            id="deb822",
        ),
        pytest.param(
            "sources.list", STRANGERS, Mirror("http://mirror.example/debian/"), id="strangers"
        ),
    ],
)
def test_mirror_of_a_debian_system(tmp_path: Path, name: str, text: str, expected: Mirror) -> None:
    assert sources.find({}, apt_with(tmp_path, name, text)) == expected


@needs_apt
def test_ubuntu_has_no_debian_mirror(tmp_path: Path) -> None:
    with pytest.raises(CannotError) as caught:
        sources.find({}, apt_with(tmp_path, "sources.list", UBUNTU))
    assert caught.value.lines() == (
        "no Debian mirror among the system's package sources (seen: http://archive.example/ubuntu/)",
        "hint: name one: HOPLAB_MIRROR=http://HOST/debian",
    )


def test_origin_overrules_the_name_of_the_suite() -> None:
    raspbian = Target("http://r.example/raspbian/", "bookworm", "main", "Raspbian")
    with pytest.raises(CannotError):
        sources.choose([raspbian])


def test_variable_names_another_mirror() -> None:
    found = sources.find({sources.VARIABLE: "http://other.example/debian"}, ("no-such-apt",))
    assert found == Mirror("http://other.example/debian/")


def test_without_apt() -> None:
    with pytest.raises(CannotError, match="apt-get is missing"):
        sources.find({}, ("no-such-apt-get",))


def test_without_keys(tmp_path: Path) -> None:
    with pytest.raises(CannotError) as caught:
        sources.keyring([str(tmp_path / "none.gpg")])
    assert "debian-archive-keyring" in caught.value.hint


def test_source_lines_are_signed_and_of_our_suite() -> None:
    mirror = Mirror("http://m.example/debian/", "http://s.example/sec/")
    assert sources.source_lines(mirror, "trixie", ["main"], Path("/k.gpg")).splitlines() == [
        "deb [signed-by=/k.gpg] http://m.example/debian/ trixie main",
        "deb [signed-by=/k.gpg] http://m.example/debian/ trixie-updates main",
        "deb [signed-by=/k.gpg] http://s.example/sec/ trixie-security main",
    ]
