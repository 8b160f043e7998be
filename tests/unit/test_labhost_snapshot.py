"""Snapshots on disk: trusted while untouched, compared when not, never partial."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.labhost.machine import Accelerator
from lab.labhost.snapshot import Store, host_identity, sparse_digest

MIB = 1 << 20


def sparse(file: Path, *blocks: tuple[int, bytes], size: int = 8 * MIB) -> None:
    with file.open("wb") as stream:
        for offset, data in blocks:
            stream.seek(offset)
            stream.write(data)
        stream.truncate(size)


def write(state: Path) -> None:
    sparse(state, (0, b"head"), (3 * MIB + 5, b"pages"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "snapshots")
    store.folder.mkdir()
    return store


@pytest.fixture
def notes() -> list[str]:
    return []


def test_what_was_added_is_found(store: Store, notes: list[str]) -> None:
    state = store.add("k", write)
    assert store.find("k", notes.append) == state
    assert notes == []


def test_other_key_is_never_found(store: Store, notes: list[str]) -> None:
    store.add("k", write)
    assert store.find("other", notes.append) is None


def _altered(state: Path) -> None:
    sparse(state, (0, b"head"), (3 * MIB + 5, b"pagez"))


def _altered_with_old_times(state: Path) -> None:
    before = state.stat()
    _altered(state)
    os.utime(state, ns=(before.st_atime_ns, before.st_mtime_ns))


def _truncated(state: Path) -> None:
    os.truncate(state, 4 * MIB)


def _bad_record(state: Path) -> None:
    (state.parent / "record.json").write_text('{"sha256": 1}')


@pytest.mark.parametrize("harm", [_altered, _altered_with_old_times, _truncated, _bad_record])
def test_altered_snapshot_is_dropped_and_told(
    store: Store, notes: list[str], harm: Callable[[Path], None]
) -> None:
    state = store.add("k", write)
    harm(state)
    assert store.find("k", notes.append) is None
    assert len(notes) == 1
    assert not state.exists()


def test_copied_snapshot_is_compared_once_then_trusted(
    store: Store, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = store.add("k", write)
    shutil.copy(state, state.with_name("copy"))
    state.with_name("copy").replace(state)
    assert store.find("k", notes.append) == state
    monkeypatch.setattr("lab.labhost.snapshot.sparse_digest", _never)
    assert store.find("k", notes.append) == state
    assert notes == []


def _never(file: Path) -> str:
    raise AssertionError(f"{file} was read")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failed_write_leaves_nothing(store: Store, error: BaseException) -> None:
    def fail(state: Path) -> None:
        state.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        store.add("k", fail)
    assert list(store.folder.iterdir()) == []


def test_only_the_newest_two_stay(store: Store, notes: list[str]) -> None:
    for age, key in enumerate(("a", "b")):
        store.add(key, write)
        os.utime(store.folder / key, (1000 + age, 1000 + age))
    store.find("a", notes.append)  # used again; b is now the oldest
    store.add("d", write)
    assert {each.name for each in store.folder.iterdir() if each.is_dir()} == {"a", "d"}


def test_leftover_of_a_killed_lab_is_removed(store: Store) -> None:
    (store.folder / "other.new").mkdir()
    with store.making():
        store.add("k", write)
    assert [each.name for each in store.folder.iterdir() if each.is_dir()] == ["k"]


def test_second_maker_waits_and_finds_what_the_first_made(store: Store) -> None:
    order: list[str] = []

    def second() -> None:
        with store.making():
            order.append("found" if store.find("k", order.append) else "nothing")

    with store.making():
        thread = threading.Thread(target=second)
        thread.start()
        store.add("k", write)
        order.append("made")
    thread.join(timeout=10)
    assert order == ["made", "found"]


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Store(tmp_path / "file" / "snapshots").making() as problem:
        assert "Not a directory" in problem


def test_digest_is_of_the_content_not_of_the_holes(tmp_path: Path) -> None:
    holes, full = tmp_path / "holes", tmp_path / "full"
    write(holes)
    full.write_bytes(holes.read_bytes())
    assert full.stat().st_blocks > holes.stat().st_blocks
    assert sparse_digest(full) == sparse_digest(holes)


@pytest.mark.parametrize(
    "other",
    [
        [(0, b"head"), (3 * MIB + 6, b"pages")],
        [(0, b"head"), (4 * MIB + 5, b"pages")],
        [(0, b"head")],
        [],
    ],
    ids=["moved a byte", "moved a block", "lost", "empty"],
)
def test_digest_sees_every_change(tmp_path: Path, other: list[tuple[int, bytes]]) -> None:
    write(tmp_path / "a")
    sparse(tmp_path / "b", *other)
    assert sparse_digest(tmp_path / "a") != sparse_digest(tmp_path / "b")


def test_digest_covers_the_size_and_a_ragged_end(tmp_path: Path) -> None:
    digests = set()
    for size in (0, 1, MIB, MIB + 1):
        sparse(tmp_path / "f", size=size)
        digests.add(sparse_digest(tmp_path / "f"))
    assert len(digests) == 4


def test_host_matters_under_kvm_alone() -> None:
    assert host_identity(Accelerator.TCG) == ""
    assert os.uname().release in host_identity(Accelerator.KVM)
    assert "flags" in host_identity(Accelerator.KVM)
    assert "MHz" not in host_identity(Accelerator.KVM)
