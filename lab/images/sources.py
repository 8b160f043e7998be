"""Where Debian packages come from: the system's own apt configuration, or HOPLAB_MIRROR.

``apt-get indextargets`` prints what apt made of one-line and deb822 sources alike, so neither
format is parsed here. Only the mirror is taken over; the suite is ours.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CannotError

VARIABLE = "HOPLAB_MIRROR"

_FORMAT = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"

# Names that Debian's own repositories use for a suite; anything else is another repository, even
# when it lives in a folder called debian.
_SUITES = frozenset(
    (
        *("buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
        *("oldoldstable", "oldstable", "stable", "testing", "unstable"),
    )
)
_SUFFIXES = ("-updates", "-backports", "-security", "/updates")
_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)


@dataclass(frozen=True)
class Mirror:
    """Addresses of the main archive and, if the system uses one, of the security archive."""

    main: str
    security: str | None = None


@dataclass(frozen=True)
class Target:
    """One index that apt would fetch; ``origin`` is empty while it has not been fetched."""

    uri: str
    release: str
    component: str
    origin: str

    @property
    def suite(self) -> str:
        """The release without what follows the suite: ``bookworm-security`` is bookworm."""
        return self.release.split("/")[0].split("-")[0]

    @property
    def is_security(self) -> bool:
        """Security archives are ``SUITE-security``, before Debian 11 ``SUITE/updates``."""
        return self.release.endswith(("-security", "/updates"))


def find(environ: Mapping[str, str], apt: Sequence[str] = ("apt-get",)) -> Mirror:
    """The mirror to use; raises CannotError when there is none or apt-get is missing."""
    if environ.get(VARIABLE):
        return Mirror(main=environ[VARIABLE].rstrip("/") + "/")
    return choose(_targets(apt))


def choose(targets: Sequence[Target]) -> Mirror:
    """The Debian mirror among a system's package sources.

    Raises CannotError when no source is Debian's, as on Ubuntu.
    """
    debian = [target for target in targets if _is_debian(target)]
    main = [target.uri for target in debian if not target.is_security]
    security = [target.uri for target in debian if target.is_security]
    if not main:
        seen = ", ".join(sorted({target.uri for target in targets})) or "none"
        raise CannotError(
            f"no Debian mirror among the system's package sources (seen: {seen})",
            hint=f"name one: {VARIABLE}=http://HOST/debian",
        )
    return Mirror(main[0], security[0] if security else None)


def keyring(candidates: Sequence[str] = _KEYRINGS) -> Path:
    """The keys that Debian signs its archive with; raises CannotError without them."""
    for candidate in candidates:
        if Path(candidate).is_file():
            return Path(candidate)
    raise CannotError(
        "the keys of Debian's archive are missing, so no package could be verified",
        hint="apt-get install debian-archive-keyring",
    )


def source_lines(mirror: Mirror, suite: str, components: Sequence[str], keys: Path) -> str:
    """A sources.list for one suite with its updates, signed by the given keys only."""
    suites = [(mirror.main, suite), (mirror.main, f"{suite}-updates")]
    if mirror.security:
        suites.append((mirror.security, f"{suite}-security"))
    return "".join(
        f"deb [signed-by={keys}] {uri} {name} {' '.join(components)}\n" for uri, name in suites
    )


def parse_targets(text: str) -> tuple[Target, ...]:
    """The targets out of apt's answer; a field that apt does not know stays ``$(FIELD)``."""
    fields = (line.split("|") for line in text.splitlines() if line.count("|") == 3)
    return tuple(Target(*("" if part.startswith("$(") else part for part in row)) for row in fields)


def _targets(apt: Sequence[str]) -> tuple[Target, ...]:
    """All targets: first those whose origin is known, then those never fetched so far.

    apt leaves out the latter unless it is told to do without what only the indexes know.
    """
    known = _ask([*apt, "indextargets"])
    unknown = _ask([*apt, "-o", "APT::Get::IndexTargets::ReleaseInfo=false", "indextargets"])
    places = {(target.uri, target.release) for target in known}
    return (*known, *(t for t in unknown if (t.uri, t.release) not in places))


def _ask(command: Sequence[str]) -> tuple[Target, ...]:
    command = [*command, "--format", _FORMAT, "Created-By: Packages"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise CannotError(
            "apt-get is missing: images are built from Debian packages",
            hint="run the lab on a Debian or Ubuntu machine",
        ) from error
    except subprocess.CalledProcessError as error:
        raise CannotError(
            f"apt-get cannot read the system's package sources: {error.stderr.strip()}"
        ) from error
    return parse_targets(done.stdout)


def _is_debian(target: Target) -> bool:
    if target.component != "main" or target.suite not in _SUITES:
        return False
    # Others publish suites called stable or bookworm too; an archive that was never fetched is
    # Debian's when its folder has the name that all mirrors use.
    by_name = target.uri.rstrip("/").endswith(("/debian", "/debian-security"))
    known_suffix = target.release == target.suite or target.release.endswith(_SUFFIXES)
    return target.origin == "Debian" or (not target.origin and by_name and known_suffix)
