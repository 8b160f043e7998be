"""How long work tells what it is doing; the command line owns how that looks."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What an image build reports to."""

    def stage(self, name: str) -> None:
        """A new step begins, such as ``"download packages"``."""

    def bytes(self, done: int, total: int) -> None:
        """How far the current step has come, in bytes."""


class Silent:
    """Reports nothing."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def bytes(self, done: int, total: int) -> None:
        """Say nothing."""
