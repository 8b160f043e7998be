#!/bin/bash
# virtio-net with several queues, each carried by vhost-net
#
# Does by hand what `lab run multiqueue` does, and puts everything back at the end. Needs root, the
# kernel and the initrd named below, and the ports eth0, eth2, eth3, eth4, eth1.
set -euo pipefail

undo=()
later() { undo=("$*" "${undo[@]}"); }
put_back() {
    local line
    for line in "${undo[@]}"; do
        eval "$line" || echo "left behind: $line" >&2
    done
}
trap put_back EXIT

# The far end of the cable has a network namespace of its own; a lab host has made it already.
if [ ! -e /run/netns/wire ]; then
    ip netns add wire
    later ip netns del wire
fi
if ip link show dev eth1 > /dev/null 2>&1; then
    ip link set dev eth1 netns wire
    later ip -n wire link set dev eth1 netns $$
fi

ip link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
later 'ip link del dev br0'
ip link set dev eth0 master br0
later 'ip link set dev eth0 nomaster'
ip tuntap add dev tap0 mode tap multi_queue
later 'ip tuntap del dev tap0 mode tap multi_queue'
ip link set dev tap0 master br0
later 'ip link set dev tap0 nomaster'
ip link show dev eth0 up | grep -q . || later ip link set dev eth0 down
ip link set dev eth0 up
ip link show dev br0 up | grep -q . || later ip link set dev br0 down
ip link set dev br0 up
ip link show dev tap0 up | grep -q . || later ip link set dev tap0 down
ip link set dev tap0 up
ip -n wire link show dev eth1 up | grep -q . || later ip -n wire link set dev eth1 down
ip -n wire link set dev eth1 up
ip -n wire address add 10.77.0.1/24 dev eth1
later 'ip -n wire address del 10.77.0.1/24 dev eth1'

qemu-system-x86_64 \
    -name guest \
    -nodefaults \
    -no-user-config \
    -machine q35,hpet=off,i8042=off,sata=off,smbus=off,vmport=off \
    -bios qboot.rom \
    -accel kvm \
    -cpu host \
    -smp 8 \
    -m 192M \
    -display none \
    -no-reboot \
    -kernel /usr/share/hoplab/guest/vmlinux \
    -initrd /usr/share/hoplab/guest/initrd \
    -append 'console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off no_timer_check tsc=reliable pci=lastbus=0 8250.nr_uarts=1 i8042.noaux=1 i8042.nokbd=1 rodata=off noreplace-smp rcupdate.rcu_expedited=1 init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off lsm=capability audit=0 numa=off cryptomgr.notests=1 initcall_blacklist=agp_init,blacklist_init,crypto_kdf108_init,init_encrypted,jent_mod_init,load_system_certificate_list,serial_pci_driver_init' \
    -serial file:guest.console \
    -chardev socket,id=qmp,path=guest.qmp,server=on,wait=off \
    -mon chardev=qmp,mode=control \
    -device virtio-serial-pci \
    -chardev socket,id=agent,path=guest.agent,server=on,wait=off \
    -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
    -device pcie-root-port,id=rp0,chassis=1 \
    -netdev tap,id=net0,ifname=tap0,script=no,downscript=no,queues=8,vhost=on \
    -device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:fe:f1:69,bus=rp0,romfile=,mq=on,vectors=18 &
later "{ kill $!; wait $!; } 2> /dev/null || true"

wait
