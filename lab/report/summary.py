"""What a result comes to, in a few words that terminal and page share."""

from __future__ import annotations

from lab.plan.data import Place
from lab.report.result import Result, Versions
from lab.report.verdict import Outcome


def summary(result: Result) -> str:
    """The checks in one line, with the time that the run took where it is known."""
    if result.error:
        return " ".join(filter(None, ("ended before its verdict", _seconds(result))))
    return " ".join(filter(None, (_counted(result), _seconds(result))))


def ran_on(result: Result) -> tuple[tuple[str, str], ...]:
    """What ran on what: a name and the words; nothing where the run ended before it was known."""
    versions = result.versions
    if versions == Versions():
        return ()
    guest = (result.accelerator.guest or "?").upper()
    ran = f"Linux {versions.guest_kernel} on QEMU {versions.qemu}, {guest}"
    if result.place is Place.HERE:
        return (
            ("this host", f"Linux {versions.host_kernel}, its own kernel"),
            ("guest", ran),
        )
    on, qemu = (result.accelerator.labhost or "?").upper(), upstream(versions.labhost_qemu)
    return (
        ("lab host", f"Linux {versions.host_kernel} on QEMU {qemu}, {on}"),
        ("guest", f"{ran} inside it"),
    )


def upstream(version: str | None) -> str:
    """QEMU's own part of a Debian version (deb-version(7)): no epoch, no revision."""
    return (version or "?").rpartition(":")[2].partition("+")[0].partition("-")[0]


def _counted(result: Result) -> str:
    red = [check.name for check in result.checks if not check.outcome.green]
    if red:
        return f"{len(red)} of {len(result.checks)} checks red ({', '.join(red)})"
    skipped = [check.name for check in result.checks if check.outcome is Outcome.SKIP]
    if skipped:
        done = len(result.checks) - len(skipped)
        return f"{done} checks, {len(skipped)} skipped ({', '.join(skipped)})"
    return f"all {len(result.checks)} checks"


def _seconds(result: Result) -> str:
    return f"in {result.timings['total']:.1f} s" if "total" in result.timings else ""
