"""The pure parts of the build: recipes, apt's answers, failures, archives."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lab.errors import CannotError, LabError, StartError
from lab.images import failure, recipe
from lab.images.apt import parse_uris
from lab.images.newc import Archive


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe folder of our own, with nothing remembered about another."""
    for name in recipe.NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").write_text('packages = ["a"]\nmodules = []\n')
        (tmp_path / name / "init").write_text("first")
    (tmp_path / "debian.toml").write_text('suite = "trixie"\ncomponents=[]\ntools=[]\nassumed=[]\n')
    monkeypatch.setattr(recipe, "folder", lambda: tmp_path)
    forget()
    return tmp_path


def forget() -> None:
    for function in (recipe.digest, recipe.recipe, recipe.suite):
        function.cache_clear()


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        pytest.param("guest/init", {"guest", "labhost"}, id="the guest is part of the lab host"),
        pytest.param("labhost/init", {"labhost"}, id="the lab host is no part of the guest"),
        pytest.param("debian.toml", {"guest", "labhost"}, id="the suite is part of both"),
    ],
)
def test_digest_follows_every_file(recipes: Path, file: str, changes: set[str]) -> None:
    before = {name: recipe.digest(name) for name in recipe.NAMES}
    with (recipes / file).open("a") as stream:
        stream.write("# more\n")
    forget()
    changed = {name for name in recipe.NAMES if recipe.digest(name) != before[name]}
    forget()
    assert changed == changes


def test_the_real_recipes_are_readable() -> None:
    forget()
    assert recipe.suite().suite == "trixie"
    assert "vhost_net" in recipe.recipe("labhost").modules
    assert "virtio_net" in recipe.recipe("guest").modules
    assert any(name.startswith("qemu/qmp/") for name in recipe.vendored("qemu.qmp"))


def test_packages_out_of_apts_answer() -> None:
    line = (
        f"'http://m.example/pool/q/qemu_10_amd64.deb' qemu-x_1%3a10.0.13+ds-0_amd64.deb 12 "
        f"SHA256:{'ab' * 32}\n"
    )
    (package,) = parse_uris("W: a warning\n" + line)
    assert (package.name, package.version, package.bytes) == ("qemu-x", "1:10.0.13+ds-0", 12)
    assert package.file == "qemu-x_1%3a10.0.13+ds-0_amd64.deb"


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        pytest.param(
            "W: Failed to fetch http://m/x  Temporary failure resolving 'm'\n",
            CannotError,
            "the package mirror cannot be reached: Failed to fetch http://m/x  "
            "Temporary failure resolving 'm'",
            id="no network",
        ),
        pytest.param(
            "E: Write error - write (28: No space left on device)\n",
            CannotError,
            "no space left on the disk for the image build",
            id="disk full",
        ),
        pytest.param(
            "W: GPG error: http://m trixie InRelease: NO_PUBKEY 6ED0E7B82643E131\n",
            CannotError,
            "a package index is not signed by Debian's keys: GPG error: http://m trixie "
            "InRelease: NO_PUBKEY 6ED0E7B82643E131",
            id="signature",
        ),
        pytest.param("mkfs: bad\n", StartError, "mkfs.erofs failed: mkfs: bad", id="anything else"),
    ],
)
def test_what_a_failed_program_meant(output: str, kind: type[LabError], message: str) -> None:
    error = failure.explain(["/tree/usr/bin/mkfs.erofs", "x"], 1, output)
    assert type(error) is kind
    assert error.message == message


def test_archive_is_what_the_kernel_reads(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("busybox")
    (tmp_path / "init").write_text("#!/bin/sh\n")
    (tmp_path / "init").chmod(0o755)
    stream = io.BytesIO()
    archive = Archive(stream)
    archive.add_folder(tmp_path)
    archive.add_node("dev/console", 5, 1)
    archive.finish()
    assert [(name, oct(mode), data) for name, mode, data in entries(stream.getvalue())] == [
        ("bin", "0o40755", b""),
        ("bin/sh", "0o120777", b"busybox"),
        ("init", "0o100755", b"#!/bin/sh\n"),
        ("dev/console", "0o20600", b""),
        ("TRAILER!!!", "0o0", b""),
    ]


def entries(archive: bytes) -> list[tuple[str, int, bytes]]:
    """An independent reader of the newc format."""
    found, at = [], 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_at, size = at + 110, fields[6]
        name = archive[name_at : name_at + fields[11] - 1].decode()
        data_at = (name_at + fields[11] + 3) // 4 * 4
        found.append((name, fields[1], archive[data_at : data_at + size]))
        at = (data_at + size + 3) // 4 * 4
    return found
