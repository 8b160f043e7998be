"""Benchmarks of the lab itself (docs/performance.md), for ``nox -s bench``."""
