"""A /sys of a few PCI functions, made for a test: links and files as the kernel has them."""

from __future__ import annotations

from pathlib import Path


def add(  # noqa: PLR0917  in the order of what is left out most often
    sysfs: Path,
    place: str,
    kind: str = "0x020000",
    driver: str = "",
    group: str = "",
    netdevs: tuple[str, ...] = (),
    vfs: tuple[int, int] | None = None,
    physical: str = "",
    model: tuple[str, str] = ("0x8086", "0x10c9"),
) -> None:
    """A function at ``place``, its path below /sys/devices; its parents need not be functions."""
    folder = sysfs / "devices" / place
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("class", kind), ("vendor", model[0]), ("device", model[1])):
        (folder / name).write_text(f"{text}\n")
    links = {
        "driver": f"bus/pci/drivers/{driver}" if driver else "",
        "iommu_group": f"kernel/iommu_groups/{group}" if group else "",
        "physfn": f"devices/{Path(place).parent}/{physical}" if physical else "",
    }
    for name, target in links.items():
        if target:
            (folder / name).symlink_to(sysfs / target)
    for name in netdevs:
        (folder / "net" / name).mkdir(parents=True)
    if vfs:
        (folder / "sriov_numvfs").write_text(f"{vfs[0]}\n")
        (folder / "sriov_totalvfs").write_text(f"{vfs[1]}\n")
    listed = sysfs / "bus/pci/devices"
    listed.mkdir(parents=True, exist_ok=True)
    (listed / folder.name).symlink_to(folder)


def machine(sysfs: Path) -> None:
    """A port with two VFs, one of them given away; another port whose group is shared."""
    add(sysfs, "pci0000:00/0000:00:00.0", "0x060000", model=("0x8086", "0x29c0"), group="0")
    bridge = "pci0000:00/0000:00:10.0"
    add(sysfs, bridge, "0x060400", "pcieport", "4", model=("0x1b36", "0x000c"))
    add(sysfs, f"{bridge}/0000:01:00.0", driver="igb", group="12", netdevs=("eth0",), vfs=(2, 7))
    vf = {"physical": "0000:01:00.0", "model": ("0x8086", "0x10ca")}
    add(sysfs, f"{bridge}/0000:01:10.0", driver="vfio-pci", group="17", **vf)  # type: ignore[arg-type]
    add(sysfs, f"{bridge}/0000:01:10.2", group="18", **vf)  # type: ignore[arg-type]
    add(sysfs, "pci0000:00/0000:00:1f.2", "0x010601", "ahci", "11", model=("0x8086", "0x2922"))
    add(sysfs, "pci0000:00/0000:00:1f.6", driver="e1000e", group="11", netdevs=("eno1",))
    add(sysfs, "pci0000:80/0000:80:01.0", "0x088000", model=("0x8086", "0x0e20"))
