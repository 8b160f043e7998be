"""The cache never hands out an image that is not what was built."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from lab.errors import CannotError
from lab.images import build, cache, recipe
from lab.images.cache import Cache
from lab.images.failure import is_disk_full
from lab.images.image import Image
from lab.images.package import Package
from lab.images.progress import Silent
from tests.unprivileged import closed

QEMU = Package(name="qemu", version="1:10.0.13", file="q.deb", bytes=1, sha256="0" * 64)
SPAWN = multiprocessing.get_context("spawn")


def make(top: Cache, content: bytes = b"kernel" * 1000) -> Image:
    """An image named guest with two files."""
    with top.locked(Silent()) as work:
        folder = work / "guest"
        (folder / "sub").mkdir(parents=True)
        (folder / "vmlinux").write_bytes(content)
        (folder / "sub" / "initrd").write_bytes(b"initrd")
        manifest = cache.describe(folder, "guest", "6.12", (QEMU,), {})
        return top.add(folder, manifest)


def find(top: Cache) -> Image | None:
    return top.find("guest", recipe.digest("guest"))


def truncate(image: Image) -> None:
    os.truncate(image.folder / "vmlinux", 10)


def alter_one_byte(image: Image) -> None:
    before = (image.folder / "vmlinux").stat()
    with (image.folder / "vmlinux").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"X")
    # Whoever sets the times back cannot set ctime back.
    os.utime(image.folder / "vmlinux", ns=(before.st_atime_ns, before.st_mtime_ns))


def remove_file(image: Image) -> None:
    (image.folder / "sub" / "initrd").unlink()


def cut_manifest(image: Image) -> None:
    text = (image.folder / "manifest.json").read_text()
    (image.folder / "manifest.json").write_text(text[:-20])


def alter_manifest(image: Image) -> None:
    text = (image.folder / "manifest.json").read_text()
    (image.folder / "manifest.json").write_text(text.replace("1:10.0.13", "1:10.0.99"))


@pytest.fixture
def top(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "hoplab")


def test_a_sound_image_is_found_and_knows_its_packages(top: Cache) -> None:
    made = make(top)
    found = find(top)
    assert found == made
    assert found.version_of("qemu") == "1:10.0.13"
    assert found.path("sub/initrd").read_bytes() == b"initrd"


@pytest.mark.parametrize(
    "damage", [truncate, alter_one_byte, remove_file, cut_manifest, alter_manifest]
)
def test_a_damaged_image_is_not_used_and_removed_by_the_next_build(
    top: Cache, damage: Callable[[Image], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make(top)
    damage(image)
    assert find(top) is None
    assert image.folder.exists()

    def build_all(_work: Path, *_: object, **__: object) -> dict[str, Image]:
        assert not image.folder.exists()
        return {"guest": image}

    monkeypatch.setattr(build, "_build_all", build_all)
    assert build.ensure("guest", Silent(), cache=top) == image


def test_verify_names_the_damage_and_changes_nothing(top: Cache) -> None:
    image = make(top)
    alter_one_byte(image)
    (finding,) = cache.verify(top)
    assert finding.image is None
    assert finding.problem == "vmlinux has other content than was built"
    assert image.folder.exists()


def test_a_copied_cache_is_hashed_once_and_stamped_anew(top: Cache, tmp_path: Path) -> None:
    make(top)
    copy = Cache(tmp_path / "copy")
    shutil.copytree(top.top, copy.top)
    first = find(copy)
    assert first is not None
    vmlinux = first.folder / "vmlinux"
    assert first.manifest.files["vmlinux"].stamp.inode == vmlinux.stat().st_ino
    assert find(copy) == first


def test_the_newest_image_of_a_recipe_is_used_and_prune_keeps_only_it(top: Cache) -> None:
    old, new = make(top, b"old"), make(top, b"new")
    assert find(top) == new
    (top.packages).mkdir()
    (top.packages / "q.deb").write_bytes(b"x" * 5000)
    assert cache.prune(Silent(), top) > 5000
    assert not old.folder.exists()
    assert cache.list_images(top) == (new,)


def test_an_image_of_another_recipe_is_not_used(top: Cache) -> None:
    make(top)
    assert top.find("guest", "f" * 64) is None


def test_what_an_interrupted_build_left_is_removed_by_the_next(top: Cache) -> None:
    left = top.building / "guest"
    left.mkdir(parents=True)
    (left / "vmlinux").write_bytes(b"half")
    assert find(top) is None
    make(top)
    assert not top.building.exists()


def interrupted_build(top: Cache) -> None:
    with top.locked(Silent()) as work:
        (work / "big").write_bytes(b"x" * 1000)
        raise KeyboardInterrupt


def test_an_interrupted_build_leaves_nothing(top: Cache) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_build(top)
    assert not top.building.exists()
    assert find(top) is None


class Recorder:
    """Progress that tells another process its stages."""

    def __init__(self, stages: SimpleQueue[str]) -> None:
        self.stages = stages

    def stage(self, name: str) -> None:
        self.stages.put(name)

    def bytes(self, done: int, total: int) -> None:
        raise AssertionError("nothing is downloaded here")


def second_build(top: Path, stages: SimpleQueue[str]) -> None:
    with Cache(top).locked(Recorder(stages)):
        stages.put("found" if find(Cache(top)) else "not found")


def test_a_second_build_waits_says_so_and_finds_the_first_ones_image(top: Cache) -> None:
    stages: SimpleQueue[str] = SPAWN.SimpleQueue()
    with top.locked(Silent()) as work:
        other = SPAWN.Process(target=second_build, args=(top.top, stages))
        other.start()
        assert stages.get() == "wait for another build"
        (work / "guest").mkdir()
        (work / "guest" / "vmlinux").write_bytes(b"kernel")
        top.add(work / "guest", cache.describe(work / "guest", "guest", "6.12", (QEMU,), {}))
    assert stages.get() == "found"
    other.join(30)
    assert other.exitcode == 0


def remove_all(top: Path, stages: SimpleQueue[str]) -> None:
    """What `lab images prune --all` does."""
    with Cache(top).locked(Recorder(stages)):
        stages.put("has it")
        shutil.rmtree(top)


def test_whoever_waits_while_all_is_removed_has_a_lock_of_the_new_cache(top: Cache) -> None:
    removing: SimpleQueue[str] = SPAWN.SimpleQueue()
    waiting: SimpleQueue[str] = SPAWN.SimpleQueue()
    with top.locked(Silent()):
        remover = SPAWN.Process(target=remove_all, args=(top.top, removing))
        remover.start()
        assert removing.get() == "wait for another build"
        # Both wait for one lock, and either may have it first.
        builder = SPAWN.Process(target=second_build, args=(top.top, waiting))
        builder.start()
        assert waiting.get() == "wait for another build"
    for each in (remover, builder):
        each.join(30)
        assert each.exitcode == 0


def test_the_lock_that_was_removed_is_none(top: Cache) -> None:
    with top.locked(Silent()):
        lock = top.top / "lock"
        with lock.open() as file:
            assert cache._is(file, lock)
            lock.unlink()
            assert not cache._is(file, lock)
            lock.touch()
            assert not cache._is(file, lock)


def test_files_that_go_while_they_are_counted_are_not_missed(
    top: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(top)
    gone = [top.top / "gone"]
    monkeypatch.setattr(Path, "rglob", lambda *_: iter(gone))
    assert cache.size(top.top) == 0


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with closed(tmp_path / "closed") as folder:
        with pytest.raises(CannotError, match=r"closed/hoplab cannot be used: Permission") as told:
            build.ensure("guest", Silent(), cache=Cache(folder / "hoplab"))
        with pytest.raises(CannotError, match="cannot be used"):
            cache.list_images(Cache(folder / "hoplab"))
    assert "XDG_CACHE_HOME" in told.value.hint


def test_a_cache_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotError, match="cannot be used: Not a directory"):
        build.ensure("guest", Silent(), cache=Cache(tmp_path / "file/hoplab"))


def build_on_a_full_disk(top: Path, answers: SimpleQueue[str]) -> None:
    """In a process of its own: a file size limit is what an ordinary user can set everywhere."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    def fill(work: Path, *_: object, **__: object) -> dict[str, Image]:
        (work / "root.erofs").write_bytes(b"x" * 10000)
        return {}

    build._build_all = fill
    try:
        build.ensure("guest", Silent(), cache=Cache(top))
    except CannotError as error:
        answers.put("\n".join(error.lines()))
    answers.put(",".join(sorted(path.name for path in top.iterdir())))


def test_a_full_disk_is_one_line_and_leaves_nothing(top: Cache) -> None:
    answers: SimpleQueue[str] = SPAWN.SimpleQueue()
    child = SPAWN.Process(target=build_on_a_full_disk, args=(top.top, answers))
    child.start()
    message, hint = answers.get().splitlines()
    assert message == f"no space left on the disk under {top.top} for the image build"
    assert hint.startswith("hint: free some")
    assert answers.get() == "lock"
    child.join(30)


def test_other_errors_are_not_taken_for_a_full_disk() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "full"))
    assert not is_disk_full(PermissionError(errno.EACCES, "denied"))
