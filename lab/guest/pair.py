"""A failover pair in the guest: two NICs with one address below one device (net_failover)."""

from __future__ import annotations

from lab.errors import StartError
from lab.evidence.guest import Pair
from lab.guest.qemu import Guest

# A primary comes when virtio_net has said that it knows pairs: after the guest's boot has loaded
# the drivers of what was there. Nothing in the guest listens to uevents, so its driver is loaded
# here, whenever the number of PCI devices has changed.
_SCRIPT = r"""
now() {{ read -r time rest </proc/uptime; time=${{time%.*}}; }}
now; end=$((time + {seconds})); known=
while :; do
  out=; ready=
  for dir in /sys/class/net/*; do
    [ -e "$dir/master" ] || continue
    master=$(readlink "$dir/master"); driver=$(readlink "$dir/device/driver")
    read -r up 2>/dev/null <"$dir/carrier" || up=0
    [ "${{driver##*/}}" = virtio_net ] || [ "$up" = 0 ] || ready=yes
    out="$out${{dir##*/}} ${{master##*/}} ${{driver##*/}} $up
"
  done
  now
  [ -z "$ready" ] && [ "$time" -lt "$end" ] || break
  set -- /sys/bus/pci/devices/*
  [ "$#" = "$known" ] || cat /sys/bus/pci/devices/*/modalias | xargs modprobe -a -q
  known=$#
  sleep 0.1
done
echo "$out"
"""
PAIR_SECONDS = 20.0
"""How long a primary may take to come, and its carrier: 1 to 3 s of it are the VF's driver's.

On a machine that had six other things to do it took 9 s in all.
"""


def pair(guest: Guest, seconds: float) -> Pair:
    """The guest's pair, as soon as its primary has a carrier, or as it is after ``seconds``.

    Raises StartError where the guest has no standby below a device of net_failover.
    """
    result = guest.run(_SCRIPT.format(seconds=round(seconds)), deadline=30.0 + 2 * seconds)
    rows = [line.split() for line in result.out.splitlines() if line.strip()]
    standby = next((row for row in rows if row[2] == "virtio_net"), None)
    if standby is None:
        raise StartError(f"guest {guest.name} has no failover device", output=result.out)
    primary = next((row for row in rows if row[2] != "virtio_net"), ["", "", "", "0"])
    return Pair(
        master=standby[1],
        standby=standby[0],
        primary=primary[0],
        driver=primary[2],
        carrier=primary[3] == "1",
    )
