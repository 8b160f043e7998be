"""The run folder: private, unique, gone at the end, and the dead are swept up."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lab.errors import CannotError
from lab.rundir import open_rundir

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return folder


def runs(base: Path) -> list[str]:
    return sorted(each.name for each in base.rglob("run-*"))


def test_folder_is_private_and_gone_afterwards(runtime: Path) -> None:
    with open_rundir() as folder:
        (folder / "console.log").write_text("x")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.parent == runtime / "hoplab"
    assert runs(runtime) == []


def test_folder_is_gone_after_an_error(runtime: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_rundir():
        raise KeyboardInterrupt
    assert runs(runtime) == []


def test_two_runs_have_two_folders(runtime: Path) -> None:
    with open_rundir() as one, open_rundir() as two:
        assert one != two
        assert one.is_dir()
        assert two.is_dir()


def test_a_disk_that_takes_nothing_is_told() -> None:
    code = (
        "import resource\nfrom lab.rundir import open_rundir\nfrom lab.errors import CannotError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n    open_rundir().__enter__()\n"
        "except CannotError as error:\n    print(error.message, error.hint)"
    )
    hidden = {**os.environ, "XDG_RUNTIME_DIR": "/proc/none"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=hidden,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("no folder takes temporary files: No usable temporary directory")
    assert "TMPDIR" in done.stdout


def test_dead_run_is_swept_by_the_next(runtime: Path) -> None:
    code = (
        "import time\nfrom lab.rundir import open_rundir\n"
        "with open_rundir() as f:\n    print(f, flush=True)\n    time.sleep(1000)"
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as run:
        assert run.stdout is not None
        left = Path(run.stdout.readline().strip())
        run.send_signal(signal.SIGKILL)
    assert left.is_dir()
    with open_rundir():
        assert not left.exists()


@pytest.mark.parametrize("how", ["unset", "missing parent is a file", "not writable"])
def test_other_place_where_there_is_no_runtime_folder(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "unset":
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    elif how == "missing parent is a file":
        (runtime / "file").write_text("")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "file" / "x"))
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc/sys")
    with open_rundir() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == os.geteuid()


def test_folder_open_to_others_is_not_used(runtime: Path) -> None:
    (runtime / "hoplab").mkdir(mode=0o700)
    (runtime / "hoplab").chmod(0o755)
    with open_rundir() as folder:
        assert runtime not in folder.parents


def test_no_safe_place_is_told_with_every_reason(runtime: Path) -> None:
    for base in (runtime / "hoplab", runtime.parent / "tmp" / f"hoplab-{os.geteuid()}"):
        base.symlink_to("/nonexistent")
    with pytest.raises(CannotError, match="no safe place") as caught, open_rundir():
        pass
    assert str(runtime) in caught.value.message
    assert "XDG_RUNTIME_DIR" in caught.value.hint
