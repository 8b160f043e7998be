"""Sets up the NICs of a guest, found by their MAC addresses, in one script run by the agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lab.errors import StartError
from lab.evidence.guest import NicEvidence
from lab.guest.agent import Agent
from lab.plan.data import NicPlan

# A bond-like master (net_failover) and its slaves share one MAC: the device wanted has no master.
# Drivers of virtual functions come up a moment after their devices, hence the tries. Linux answers
# ARP through any NIC for the addresses of all of them, unless it is told not to (ip-sysctl.rst).
_FUNCTIONS = r"""
fail() { echo "fail $*"; exit 1; }
find() {
  for dir in /sys/class/net/*; do
    [ -e "$dir/device" ] && [ ! -e "$dir/master" ] || continue
    read -r mac < "$dir/address"
    [ "$mac" = "$1" ] && dev=${dir##*/} && return 0
  done
  return 1
}
try() {
  left=$1; shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 0.05
  done
}
carrier() { read -r up 2>/dev/null < "/sys/class/net/$dev/carrier" && [ "$up" = 1 ]; }
nic() {
  try "$tries" find "$2" || fail "$1 no NIC has the MAC address $2"
  [ ! -e "/proc/sys/net/ipv6/conf/$dev" ] || echo 1 > "/proc/sys/net/ipv6/conf/$dev/disable_ipv6"
  echo 1 > "/proc/sys/net/ipv4/conf/$dev/arp_ignore"
  echo 2 > "/proc/sys/net/ipv4/conf/$dev/arp_announce"
  # A NIC that has fewer queues than it was to have is for the proof to tell.
  [ "$5" = - ] || refused=$(ethtool -L "$dev" combined "$5" 2>&1) || echo "refused $1" $refused
  [ "$6" = - ] || ethtool -G "$dev" rx "$6" 2>&1 || fail "$1 ethtool could not set its ring to $6"
  ip address add "$4" dev "$dev" 2>&1 || fail "$1 ip could not give $dev the address $4"
  ip link set dev "$dev" mtu "$3" up 2>&1 || fail "$1 ip could not set $dev up with MTU $3"
  try "$tries" carrier || fail "$1 $dev has no carrier"
  driver=$(readlink "/sys/class/net/$dev/device/driver")
  read -r mac < "/sys/class/net/$dev/address"
  id=$1
  set -- "/sys/class/net/$dev/queues"/rx-*
  echo "nic $id $dev ${driver##*/} $mac $#"
}
"""


def configure(
    agent: Agent, guest: str, nics: Iterable[NicPlan], seconds: float
) -> tuple[str, tuple[NicEvidence, ...]]:
    """Give each NIC its MTU, queues and address and wait for its carrier.

    ``seconds`` is the longest wait for one NIC to appear, and again for its carrier. Returns the
    guest's kernel release and what the guest says of its NICs. Raises StartError.
    """
    nics = tuple(nics)
    result = agent.run(script(nics, seconds), deadline=(2 * len(nics) + 1) * seconds)
    lines = result.out.splitlines()
    if result.returncode or not lines:
        said = "\n".join([*lines, *result.err.splitlines()])
        failed = next((line[5:] for line in lines if line.startswith("fail ")), "the script failed")
        raise StartError(f"guest {guest}: NIC {failed}", output=said)
    refused = dict(line.split(" ", 2)[1:] for line in lines if line.startswith("refused "))
    return lines[0], tuple(_parse(line, refused) for line in lines if line.startswith("nic "))


def script(nics: Iterable[NicPlan], seconds: float) -> str:
    """The shell script for these NICs (busybox ash, iproute2, ethtool)."""
    calls = [
        f"nic {nic.id} {nic.mac.lower()} {nic.mtu} {nic.address} {nic.active or '-'}"
        f" {nic.rx_ring or '-'}"
        for nic in nics
    ]
    release = 'read -r release < /proc/sys/kernel/osrelease; echo "$release"'
    return "\n".join([_FUNCTIONS, f"tries={int(seconds / 0.05)}", release, *calls, ""])


def _parse(line: str, refused: Mapping[str, str]) -> NicEvidence:
    _, name, device, driver, mac, queues = line.split()
    return NicEvidence(
        id=name,
        device=device,
        driver=driver,
        mac=mac,
        queues=int(queues),
        refused=refused.get(name, ""),
    )
