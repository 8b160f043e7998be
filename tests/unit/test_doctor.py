"""What the doctor says of the cache, and that a look changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import doctor
from lab.doctor import Grade
from lab.images import cache, recipe
from lab.images.cache import Cache
from lab.images.progress import Silent
from tests.unprivileged import closed


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the user's caches are in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(("built", "grade"), [(False, Grade.FAIL), (True, Grade.WARN)])
def test_a_cache_that_cannot_be_written_is_no_pass(built: bool, grade: Grade, top: Path) -> None:
    with closed(top):
        finding = doctor._disk(built=built)
        assert doctor._images() is None
    assert finding.grade is grade
    assert "is not yours to write to" in finding.text
    assert "XDG_CACHE_HOME" in finding.fix


def test_an_unsound_image_is_not_removed_by_a_look(top: Path) -> None:
    for name in recipe.NAMES:
        with Cache(top / "hoplab").locked(Silent()) as work:
            (work / name).mkdir()
            (work / name / "initrd").write_bytes(b"initrd")
            manifest = cache.describe(work / name, name, "6.12", (), {})
            image = Cache(top / "hoplab").add(work / name, manifest)
        (image.folder / "initrd").write_bytes(b"damaged")
    assert doctor._images() is None
    assert len(list((top / "hoplab/images").iterdir())) == len(recipe.NAMES)
