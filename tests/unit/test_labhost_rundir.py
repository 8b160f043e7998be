"""The run folder: private, unique, gone at the end, and the dead are swept up."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lab import rundir
from lab.errors import CannotError
from lab.rundir import open_orphans, open_rundir, open_state

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


def test_a_session_that_ends_may_take_all_of_it_along(runtime: Path) -> None:
    with open_rundir():
        shutil.rmtree(runtime)
    assert not runtime.exists()


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


STRESS = """
from lab.rundir import open_rundir
for _ in range(150):
    with open_rundir() as folder:
        for number in range(10):
            (folder / str(number)).touch()
"""


def test_runs_that_begin_and_end_at_once_do_not_break_each_other(runtime: Path) -> None:
    argv = [sys.executable, "-c", STRESS]
    runs = [
        subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(2)
    ]
    for each in runs:
        _, said = each.communicate(timeout=60)
        assert each.returncode == 0, said
    assert [each.name for each in (runtime / "hoplab").iterdir()] == [".lock"]


def test_a_folder_of_which_only_half_was_removed_is_swept(runtime: Path) -> None:
    left = runtime / "hoplab" / "run-half"
    left.mkdir(mode=0o700, parents=True)
    (runtime / "hoplab").chmod(0o700)
    (left / "console.log").write_text("no lock any more")
    with open_rundir():
        assert not left.exists()


INTERRUPTED = """
import os, signal, threading
from lab import rundir
from lab.rundir import open_rundir

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, interrupt)
# As the thread that draws the live line: the kernel may give it the signal.
threading.Thread(target=threading.Event().wait, daemon=True).start()
made = rundir.tempfile.mkdtemp

def mkdtemp(**words):
    folder = made(**words)
    os.kill(os.getpid(), signal.SIGTERM)
    return folder

rundir.tempfile.mkdtemp = mkdtemp
try:
    with open_rundir():
        pass
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_run_that_is_interrupted_while_its_folder_is_made_leaves_none(runtime: Path) -> None:
    argv = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == "interrupted\n"
    assert runs(runtime) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends ports")
def test_what_root_has_to_put_back_is_found_from_another_session(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "_ROOTS", runtime / "root")
    with open_state("ports-") as folder:
        (folder / "journal.json").write_text("[]")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime.parent / "another"))
    with open_orphans("ports-") as found:
        assert found == (folder,)
        (folder / "journal.json").unlink()
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends ports")
def test_a_place_for_roots_state_that_is_not_safe_is_told(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runtime / "root").symlink_to("/tmp")
    monkeypatch.setattr(rundir, "_ROOTS", runtime / "root")
    with pytest.raises(CannotError, match="root is not a folder"), open_state("ports-"):
        pass


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
