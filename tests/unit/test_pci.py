"""PCI functions out of a made-up /sys, and the tree that is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.pci import (
    PciFunction,
    find_function,
    group_of,
    iommu_width,
    read_functions,
)
from lab.report.pcitree import kind_words, tree_lines
from tests import sysfs
from tests.golden_file import GOLDEN, compare


@pytest.fixture
def made(tmp_path: Path) -> Path:
    sysfs.machine(tmp_path)
    return tmp_path


def function(**fields: object) -> PciFunction:
    given = {"address": "0000:01:00.0", "parent": "pci0000:00", "kind": 0x020000, "model": "1:2"}
    return PciFunction.model_validate(given | fields)


def test_a_port_is_read_with_all_that_hangs_on_it(made: Path) -> None:
    assert find_function("0000:01:00.0", made) == PciFunction(
        address="0000:01:00.0",
        parent="0000:00:10.0",
        kind=0x020000,
        model="8086:10c9",
        driver="igb",
        group="12",
        netdevs=("eth0",),
        vfs=2,
        max_vfs=7,
    )


def test_a_virtual_function_names_its_port(made: Path) -> None:
    found = find_function("0000:01:10.0", made)
    assert found is not None
    assert (found.physical, found.driver) == ("0000:01:00.0", "vfio-pci")


def test_what_is_not_there(made: Path, tmp_path: Path) -> None:
    assert find_function("0000:09:00.0", made) is None
    assert read_functions(tmp_path / "nothing") == ()


def test_netdev_behind_a_virtio_device(tmp_path: Path) -> None:
    sysfs.add(tmp_path, "pci0000:00/0000:00:03.0", driver="virtio-pci")
    (tmp_path / "devices/pci0000:00/0000:00:03.0/virtio2/net/eth0").mkdir(parents=True)
    assert read_functions(tmp_path)[0].netdevs == ("eth0",)


def test_group(made: Path) -> None:
    functions = read_functions(made)
    port = next(each for each in functions if each.netdevs == ("eno1",))
    assert [each.address for each in group_of(port, functions)] == ["0000:00:1f.2", "0000:00:1f.6"]
    assert group_of(functions[-1], functions) == ()


@pytest.mark.parametrize(
    ("driver", "viable"),
    [("", True), ("vfio-pci", True), ("pcieport", True), ("ahci", False), ("igbvf", False)],
)
def test_viable(driver: str, viable: bool) -> None:
    assert function(driver=driver).viable is viable


@pytest.mark.parametrize(("cap", "width"), [("d2008c222f0686", 48), ("d2008c22260206", 39)])
def test_iommu_width(cap: str, width: int, made: Path) -> None:
    folder = made / "bus/pci/devices/0000:01:00.0/iommu/intel-iommu"
    folder.mkdir(parents=True)
    (folder / "cap").write_text(f"{cap}\n")
    assert iommu_width("0000:01:00.0", made) == width
    assert iommu_width("0000:01:10.0", made) is None


@pytest.mark.parametrize(
    ("kind", "words"),
    [(0x020000, "Ethernet"), (0x010802, "NVMe"), (0x018000, "storage"), (0xFF0000, "class ff00")],
)
def test_kind_words(kind: int, words: str) -> None:
    assert kind_words(function(kind=kind)) == words


def test_tree(made: Path) -> None:
    compare(GOLDEN / "pci" / "tree.txt", "\n".join((*tree_lines(read_functions(made)), "")))
