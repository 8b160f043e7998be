"""What this machine can do for each topology, in a lab host and by its own kernel.

Nothing is changed or downloaded, and no guest is booted unless that is asked for.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from lab.data import Data
from lab.errors import CannotError, LabError
from lab.here.features import Feature, MissingFeatureError, look, need
from lab.here.place import probe_spec
from lab.images import cache, recipe, sources
from lab.labhost import accelerator
from lab.labhost.setup import Images
from lab.model.load import load_topology, names
from lab.paths import nearest
from lab.rundir import open_rundir

_PYTHON = (3, 11)
_BUILD_BYTES = 1_500_000_000
_SNAPSHOT_BYTES = 500_000_000
_LABHOST_BYTES = 2_000_000_000
_COMFORTABLE_BYTES = 2 * _LABHOST_BYTES
_OTHER_DISK = "export XDG_CACHE_HOME=/a/larger/disk"
_MEMINFO = Path("/proc/meminfo")


class Grade(StrEnum):
    """How good a finding is. Only ``FAIL`` in a lab host's part keeps the lab from working."""

    PASS = "PASS"  # noqa: S105  a grade, not a password
    WARN = "WARN"
    FAIL = "FAIL"


class Finding(Data):
    """One thing that was looked at. ``fix`` is a line to paste, empty where nothing is to do."""

    name: str
    grade: Grade
    text: str
    fix: str = ""


class Chances(Data):
    """What a topology (with its default parameters) can count on; ``missing`` is for here."""

    topology: str
    labhost: Grade
    here: Grade
    missing: tuple[str, ...]


class Diagnosis(Data):
    """All of it. ``works`` says whether lab hosts do, which is all that a run needs."""

    works: bool
    labhost: tuple[Finding, ...]
    here: tuple[Finding, ...]
    topologies: tuple[Chances, ...]


def examine(*, probe: bool) -> Diagnosis:
    """Look at everything; ``probe`` boots a guest under KVM to see what becomes of it."""
    labhost = tuple(_labhost(probe=probe))
    works = all(finding.grade is not Grade.FAIL for finding in labhost)
    features = look(tuple(Feature))
    return Diagnosis(
        works=works,
        labhost=labhost,
        here=tuple(_feature(feature, error) for feature, error in features.items()),
        topologies=tuple(_chances(name, features, works=works) for name in names()),
    )


def megabytes(count: int) -> str:
    """Bytes for the eye."""
    return f"{count / 1e6:.0f} MB"


def _labhost(*, probe: bool) -> Iterator[Finding]:
    images = _images()
    yield _python()
    yield _processor()
    yield _program("setpriv", "util-linux")
    yield _packages(built=images is not None)
    yield _built(images)
    yield _disk(built=images is not None)
    yield _memory()
    yield _cores()
    yield _runtime()
    yield _kvm(images, probe=probe)


def _images() -> Images | None:
    """Those in the cache that fit the current recipes."""
    try:
        found = {name: cache.default().find(name, recipe.digest(name)) for name in recipe.NAMES}
    except CannotError:
        return None  # told of the disk
    labhost, guest = found["labhost"], found["guest"]
    if labhost is None or guest is None:
        return None
    return Images(labhost=labhost, guest=guest, cache=cache.default().top)


def _python() -> Finding:
    good = sys.version_info >= _PYTHON
    return Finding(
        name="python",
        grade=Grade.PASS if good else Grade.FAIL,
        text=platform.python_version(),
        fix="" if good else "apt-get install python3.11",
    )


def _processor() -> Finding:
    machine = platform.machine()
    good = machine == "x86_64"
    fix = "" if good else "uname -m  # the lab needs one that says x86_64"
    return Finding(
        name="processor", grade=Grade.PASS if good else Grade.FAIL, text=machine, fix=fix
    )


def _program(name: str, package: str) -> Finding:
    found = shutil.which(name)
    return Finding(
        name=name,
        grade=Grade.PASS if found else Grade.FAIL,
        text=found or "is not installed",
        fix="" if found else f"apt-get install {package}",
    )


def _packages(*, built: bool) -> Finding:
    """Once the images are there, packages are only for newer ones."""
    try:
        mirror = sources.find(os.environ)
        sources.keyring()
    except CannotError as error:
        grade = Grade.WARN if built else Grade.FAIL
        return Finding(name="packages", grade=grade, text=error.message, fix=error.hint)
    return Finding(name="packages", grade=Grade.PASS, text=f"from {mirror.main}")


def _built(images: Images | None) -> Finding:
    if images is None:
        text = "not built yet: the first run downloads some 180 MB"
        return Finding(name="images", grade=Grade.WARN, text=text, fix="lab images build")
    size = megabytes(images.labhost.bytes + images.guest.bytes)
    return Finding(name="images", grade=Grade.PASS, text=f"built, {size} in {images.cache}")


def _disk(*, built: bool) -> Finding:
    top = cache.default().top
    existing = nearest(top)
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            name="disk",
            grade=Grade.WARN if built else Grade.FAIL,
            text=f"{top} cannot be written: {existing} is not yours to write to",
            fix=_OTHER_DISK,
        )
    free, wanted = shutil.disk_usage(existing).free, _SNAPSHOT_BYTES if built else _BUILD_BYTES
    text = f"{megabytes(free)} free for {top}"
    if free >= wanted:
        return Finding(name="disk", grade=Grade.PASS, text=text)
    return Finding(
        name="disk",
        grade=Grade.WARN if built else Grade.FAIL,
        text=f"{text}, {megabytes(wanted)} wanted",
        fix=_OTHER_DISK,
    )


def _memory() -> Finding:
    lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    text = f"{megabytes(free)} available"
    if free >= _COMFORTABLE_BYTES:
        return Finding(name="memory", grade=Grade.PASS, text=text)
    return Finding(
        name="memory",
        grade=Grade.WARN if free >= _LABHOST_BYTES else Grade.FAIL,
        text=f"{text}, {megabytes(_LABHOST_BYTES)} wanted for each lab host",
        fix="ps aux --sort=-rss | head",
    )


def _cores() -> Finding:
    count = len(os.sched_getaffinity(0))
    if count >= 2:
        return Finding(name="cores", grade=Grade.PASS, text=str(count))
    text = "1: a guest and the host beside it take turns, all is slower"
    return Finding(name="cores", grade=Grade.WARN, text=text, fix="lab all --jobs 1")


def _runtime() -> Finding:
    try:
        with open_rundir() as folder:
            return Finding(name="run folder", grade=Grade.PASS, text=str(folder.parent))
    except LabError as error:
        return Finding(name="run folder", grade=Grade.FAIL, text=error.message, fix=error.hint)


def _kvm(images: Images | None, *, probe: bool) -> Finding:
    """Only a guest that has booted proves KVM; without it all works, slower."""
    finding = _kvm_finding(images, probe=probe) if images else None
    if finding is None:
        text = "not tried; without it guests are emulated, which is slower"
        return Finding(name="kvm", grade=Grade.WARN, text=text, fix="lab doctor --probe")
    if finding.usable:
        return Finding(name="kvm", grade=Grade.PASS, text="booted a guest, and nests")
    return Finding(
        name="kvm",
        grade=Grade.WARN,
        text=f"{finding.reason} (guests are emulated instead: slower)",
        fix="grep -owE -m1 'svm|vmx' /proc/cpuinfo; ls -l /dev/kvm",
    )


def _kvm_finding(images: Images, *, probe: bool) -> accelerator.Finding | None:
    spec = probe_spec(images)
    if not probe:
        return accelerator.known(spec, images.cache)
    with open_rundir() as folder:
        return accelerator.find_out(spec, images.cache, folder, anew=True)


def _feature(feature: Feature, error: MissingFeatureError | None) -> Finding:
    if error is None:
        return Finding(name=feature.value, grade=Grade.PASS, text=_GOOD[feature])
    return Finding(name=feature.value, grade=Grade.WARN, text=error.message, fix=error.hint)


def _chances(
    name: str, features: dict[Feature, MissingFeatureError | None], *, works: bool
) -> Chances:
    needed = need(load_topology(name, {}))
    # Without root nothing else is looked at, and root is what is missing.
    missing = [each.value for each in needed if features.get(each) is not None]
    return Chances(
        topology=name,
        labhost=Grade.PASS if works else Grade.FAIL,
        here=Grade.FAIL if missing or Feature.VFIO in needed else Grade.PASS,
        missing=tuple(missing),
    )


_GOOD: dict[Feature, str] = {
    Feature.ROOT: "yes",
    Feature.NAMESPACES: "network and mount namespaces of our own",
    Feature.VETH: "made one",
    Feature.BRIDGE: "made one",
    Feature.TAP: "made one",
    Feature.MACVTAP: "made one",
    Feature.VHOST: "/dev/vhost-net opens",
    Feature.TRACING: "system calls and wake-ups can be counted",
    Feature.VFIO: "an IOMMU is in use, vfio-pci is there",
    Feature.SRIOV: "a port makes virtual functions",
}
