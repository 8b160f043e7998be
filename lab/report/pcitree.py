"""PCI functions as a tree, the way ``virsh nodedev-list --tree`` shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lab.pci import PciFunction, children, roots

_KINDS = {
    0x0101: "IDE",
    0x0106: "SATA",
    0x0108: "NVMe",
    0x0200: "Ethernet",
    0x0280: "network",
    0x0600: "host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0C03: "USB",
    0x0C05: "SMBus",
}
_BASES = {
    0x01: "storage",
    0x02: "network",
    0x03: "display",
    0x04: "multimedia",
    0x05: "memory",
    0x06: "bridge",
    0x07: "communication",
    0x08: "system",
    0x0C: "serial bus",
}


def tree_lines(functions: Iterable[PciFunction]) -> tuple[str, ...]:
    """One line a function, indented below what it hangs on; columns are aligned."""
    functions = tuple(functions)
    below = children(functions)
    rows = [row for root in roots(functions) for row in ((root, ()), *_rows(below, root, ""))]
    widths = [
        max((len(cells[column]) for _, cells in rows if cells), default=0) for column in range(5)
    ]
    left = max((len(head) for head, cells in rows if cells), default=0)
    return tuple(_line(head, cells, left, widths) for head, cells in rows)


def kind_words(function: PciFunction) -> str:
    """What a function is, by its class code (PCI code and ID assignment specification)."""
    if function.physical:
        return "VF"
    by_sub = _KINDS.get(function.kind >> 8)
    return by_sub or _BASES.get(function.kind >> 16, f"class {function.kind >> 8:04x}")


def _rows(
    below: Mapping[str, tuple[PciFunction, ...]], parent: str, indent: str
) -> Iterator[tuple[str, tuple[str, ...]]]:
    found = below.get(parent, ())
    for function in found:
        last = function is found[-1]
        yield f"{indent}{'└─' if last else '├─'} {function.address}", _cells(function)
        yield from _rows(below, function.address, f"{indent}{'   ' if last else '│  '}")


def _cells(function: PciFunction) -> tuple[str, ...]:
    return (
        kind_words(function),
        function.model,
        f"group {function.group}" if function.group else "no IOMMU",
        function.driver or "-",
        ", ".join((*function.netdevs, *_vfs(function))),
    )


def _vfs(function: PciFunction) -> Iterator[str]:
    if function.max_vfs:
        yield f"{function.vfs} of {function.max_vfs} VFs"


def _line(head: str, cells: tuple[str, ...], left: int, widths: list[int]) -> str:
    if not cells:
        return head
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join((head.ljust(left), *padded)).rstrip()
