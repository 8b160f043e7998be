"""The code zip: importable as it is, compiled where possible, with sources for tracebacks."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from lab.labhost.code import Compiler, package_zip

COMPILER = Compiler((sys.executable,), {}, "image")
BROKEN = Compiler(("/nonexistent/python",), {}, "image")


@pytest.mark.parametrize("compiler", [COMPILER, BROKEN], ids=["compiled", "sources alone"])
def test_package_is_imported_from_the_zip(tmp_path: Path, compiler: Compiler) -> None:
    archive = tmp_path / "code.zip"
    archive.write_bytes(package_zip(compiler, tmp_path / "cache"))
    script = (
        f"import sys; sys.path.insert(0, {str(archive)!r}); import lab.errors as e, linecache;"
        "print(e.__file__); print(linecache.getline(e.__file__, 1, vars(e)))"
    )
    argv = [sys.executable, "-S", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=tmp_path)
    file, first = done.stdout.splitlines()[:2]
    suffix = "pyc" if compiler is COMPILER else "py"
    assert file == f"{archive}/lab/errors.{suffix}"
    assert first.startswith('"""')


def test_pyc_is_not_checked_against_its_source(tmp_path: Path) -> None:
    with ZipFile(io.BytesIO(package_zip(COMPILER, tmp_path))) as archive:
        head = archive.read("lab/errors.pyc")[:8]
    assert head[4:] == b"\x01\0\0\0"  # PEP 552: hash-based, unchecked


def test_unchanged_sources_come_out_of_the_cache(tmp_path: Path) -> None:
    first = package_zip(COMPILER, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    # The second compiler could not run; the cache answers for it.
    assert package_zip(Compiler(BROKEN.argv, {}, "image"), tmp_path) == first


def test_equal_sources_make_equal_bytes(tmp_path: Path) -> None:
    first = package_zip(COMPILER, tmp_path / "a")
    assert package_zip(COMPILER, tmp_path / "b") == first


def test_other_image_is_compiled_for_anew(tmp_path: Path) -> None:
    package_zip(COMPILER, tmp_path)
    package_zip(Compiler(COMPILER.argv, {}, "other image"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_cache_stays_small(tmp_path: Path) -> None:
    for image in "abcdefg":
        package_zip(Compiler(COMPILER.argv, {}, image), tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_unusable_cache_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert package_zip(COMPILER, tmp_path / "file" / "cache")
