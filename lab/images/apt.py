"""Debian packages of another suite through apt, in private folders and without root.

apt resolves, downloads and verifies; nothing of the system's apt state is read except its
settings for reaching the mirror (proxies, certificates, credentials), nothing of it is changed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from lab.errors import CannotError
from lab.images.failure import explain
from lab.images.package import Package
from lab.images.progress import Progress

# How the system reaches its mirror. Not taken over: anything that would accept unsigned packages,
# and hooks, which belong to the system's own package state (docker-clean deletes downloads).
_KEPT_SETTINGS = re.compile(
    r"Acquire::(http|https|ftp|Retries|Check-Valid-Until|Check-Date|Max-ValidTime|ForceIPv\d"
    r"|Proxy-Auto-Detect|BrokenProxy|By-Hash)\b"
)

_URI_LINE = re.compile(r"^'\S+' (\S+) (\d+) SHA256:(\w+)$", re.MULTILINE)

_PRIVATE = """\
Dir::State "{top}/state";
Dir::State::status "{top}/status";
Dir::Cache "{top}/cache";
Dir::Cache::archives "{archives}";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc "{top}/etc";
Dir::Etc::main "none";
Dir::Etc::parts "none";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::Log "{top}/log";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Retries "2";
"""

_ASSUMED = """\
Package: {name}
Status: install ok installed
Version: 999
Architecture: amd64
Multi-Arch: allowed
Maintainer: nobody
Description: assumed to be there

"""


@dataclass(frozen=True)
class Apt:
    """An apt of its own; ``top`` is a scratch folder, ``archives`` keeps the downloads."""

    top: Path
    archives: Path

    def prepare(self, sources: str, assumed: Sequence[str]) -> None:
        """Write the private configuration.

        ``assumed`` packages count as installed, so apt resolves everything else in full.
        """
        for part in ("state/lists/partial", "cache/empty/partial", "etc/preferences.d", "log"):
            (self.top / part).mkdir(parents=True)
        (self.archives / "partial").mkdir(parents=True, exist_ok=True)
        (self.top / "status").write_text("".join(_ASSUMED.format(name=n) for n in assumed))
        (self.top / "etc" / "sources.list").write_text(sources)
        private = _PRIVATE.format(top=self.top, archives=self.archives)
        (self.top / "apt.conf").write_text(_system_settings() + private)

    def update(self) -> None:
        """Fetch the indexes; apt checks their signatures."""
        self._run("update")

    def resolve(self, packages: Sequence[str]) -> tuple[Package, ...]:
        """The packages and all that they depend on, in the versions to be had now."""
        # apt leaves out what lies in its archives already, so it is shown empty ones.
        empty = f"Dir::Cache::archives={self.top / 'cache' / 'empty'}"
        text = self._run("install", "--print-uris", "-qq", "-y", "-o", empty, *packages)
        return tuple(sorted(parse_uris(text), key=lambda package: package.name))

    def download(self, packages: Sequence[Package], progress: Progress) -> None:
        """Fetch package files into ``archives``; those that are there already stay."""
        wanted = [f"{package.name}={package.version}" for package in packages]
        total = sum(package.bytes for package in packages)
        command = ["apt-get", "install", "--download-only", "-qq", "-y", *wanted]
        log = self.top / "log" / "download"
        with log.open("w") as output:
            child = subprocess.Popen(command, env=self._env(), stdout=output, stderr=output)
            try:
                while not _ended(child, seconds=0.2):
                    progress.bytes(min(_size(self.archives), total), total)
            finally:
                child.terminate()
                child.wait()
        if child.returncode:
            raise explain(command, child.returncode, log.read_text())
        progress.bytes(total, total)

    def _run(self, *arguments: str) -> str:
        command = ["apt-get", *arguments]
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise explain(command, done.returncode, done.stderr)
        return done.stdout

    def _env(self) -> dict[str, str]:
        # APT_CONFIG is read first and decides which other files are read: none.
        return {**os.environ, "APT_CONFIG": str(self.top / "apt.conf"), "LC_ALL": "C.UTF-8"}


def parse_uris(text: str) -> list[Package]:
    """Packages out of ``apt-get --print-uris``: lines of 'URI' FILE SIZE SHA256:HASH."""
    packages = []
    for file, size, digest in _URI_LINE.findall(text):
        # FILE is NAME_VERSION_ARCH.deb with the colon of an epoch quoted.
        name, version, _ = file.removesuffix(".deb").split("_")
        packages.append(
            Package(name=name, version=unquote(version), file=file, bytes=size, sha256=digest)
        )
    return packages


def _system_settings() -> str:
    try:
        done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise CannotError(
            "apt is missing or misconfigured: images are built from Debian packages",
            hint="`apt-config dump` has to work on this machine",
        ) from error
    kept = (line for line in done.stdout.splitlines() if _KEPT_SETTINGS.match(line))
    return "".join(f"{line}\n" for line in kept)


def _ended(child: subprocess.Popen[bytes], *, seconds: float) -> bool:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _size(folder: Path) -> int:
    """Bytes of package files, finished or not; apt moves them while we look."""
    total = 0
    for place in (folder, folder / "partial"):
        for file in place.glob("*.deb"):
            with suppress(FileNotFoundError):
                total += file.stat().st_size
    return total
