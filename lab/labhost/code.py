"""The lab's own code as a zip: it travels with each request, so an edit needs no new image.

It is compiled by the lab host's own Python, run here out of the unpacked image, because compiling
under TCG inside would cost seconds. The .pyc files say "do not check my source" (PEP 552); the
sources travel along for tracebacks.
"""

from __future__ import annotations

import hashlib
import io
import json
import marshal
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import lab

_COMPILE_SECONDS = 60.0
_KEPT = 4

# Run by the other Python, whose library is minimal: marshal (version 2, which all can read) is
# built in. Sources come in by module name, .pyc contents go out.
_COMPILER = """
import importlib.util, marshal, sys
head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
def pyc(name, source):
    body = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    return head + importlib.util.source_hash(source.encode()) + body
sources = marshal.load(sys.stdin.buffer)
compiled = {name + "c": pyc(name, source) for name, source in sources.items()}
sys.stdout.buffer.write(marshal.dumps(compiled, 2))
"""


@dataclass(frozen=True)
class Compiler:
    """The Python that the code is compiled by, and the digest of the image that it comes from."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    image: str


def package_zip(compiler: Compiler, cache: Path) -> bytes:
    """The package ``lab`` as a zip, from the cache folder when its sources have not changed.

    Where the compiler cannot run, the zip holds sources alone and is slower to import.
    """
    sources = _sources(Path(lab.__file__).parent)
    file = cache / f"{_digest(sources, compiler)}.zip"
    with suppress(OSError):
        content = file.read_bytes()
        os.utime(file)
        return content
    compiled = _compiled(sources, compiler)
    if compiled is None:
        return _zip(sources, {})
    return _keep(file, _zip(sources, compiled))


def _sources(package: Path) -> dict[str, str]:
    """All modules of the package by their path in the zip, in order."""
    files = sorted(package.rglob("*.py"))
    return {file.relative_to(package.parent).as_posix(): file.read_text() for file in files}


def _digest(sources: Mapping[str, str], compiler: Compiler) -> str:
    text = json.dumps([compiler.image, _COMPILER, list(sources.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _compiled(sources: Mapping[str, str], compiler: Compiler) -> dict[str, bytes] | None:
    try:
        done = subprocess.run(
            [*compiler.argv, "-I", "-S", "-c", _COMPILER],
            input=marshal.dumps(dict(sources), 2),
            env=dict(compiler.environment),
            capture_output=True,
            timeout=_COMPILE_SECONDS,
            check=True,
        )
        compiled: dict[str, bytes] = marshal.loads(done.stdout)  # noqa: S302 - our own child
    except (OSError, subprocess.SubprocessError, ValueError, EOFError):
        return None
    return compiled


def _zip(sources: Mapping[str, str], compiled: Mapping[str, bytes]) -> bytes:
    """zipimport prefers a .pyc; it stays as it is, since inflating it inside costs more than
    carrying it. Sources are read for tracebacks only. Equal code makes equal bytes: by these the
    server knows whether it has the code already."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, content in compiled.items():
            archive.writestr(ZipInfo(name), content, ZIP_STORED)
        for name, source in sources.items():
            archive.writestr(ZipInfo(name), source, ZIP_DEFLATED)
    return buffer.getvalue()


def _keep(file: Path, content: bytes) -> bytes:
    """Put the zip into the cache, best effort, and drop the oldest ones."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(file)
        newest_first = sorted(file.parent.iterdir(), key=lambda each: -each.stat().st_mtime_ns)
        for old in newest_first[_KEPT:]:
            old.unlink()
    return content
