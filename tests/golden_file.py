"""Comparison with expected output in tests/golden."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def compare(file: Path, text: str) -> None:
    """Assert that ``text`` is what the file holds; with HOPLAB_GOLDEN=write make it so."""
    if os.environ.get("HOPLAB_GOLDEN") == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    expected = file.read_text(encoding="utf-8") if file.exists() else ""
    assert text == expected, f"{file} differs; HOPLAB_GOLDEN=write writes it anew"
