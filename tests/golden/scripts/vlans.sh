#!/bin/bash
# three VFs, two of them in VLANs
#
# Does by hand what `lab run vlans` does, and puts everything back at the end. Needs root, the
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

ip link show dev eth0 up | grep -q . || later ip link set dev eth0 down
ip link set dev eth0 up
echo 3 > /sys/bus/pci/devices/0000:01:00.0/sriov_numvfs
later 'echo 0 > /sys/bus/pci/devices/0000:01:00.0/sriov_numvfs'
ip link set dev eth0 vf 0 mac 52:54:00:eb:34:b0 vlan 100
modprobe vfio-pci
if [ -e /sys/bus/pci/devices/0000:01:10.0/driver ]; then echo 0000:01:10.0 > /sys/bus/pci/devices/0000:01:10.0/driver/unbind; fi
echo vfio-pci > /sys/bus/pci/devices/0000:01:10.0/driver_override
echo 0000:01:10.0 > /sys/bus/pci/drivers_probe
later 'echo > /sys/bus/pci/devices/0000:01:10.0/driver_override && echo 0000:01:10.0 > /sys/bus/pci/drivers/vfio-pci/unbind && echo 0000:01:10.0 > /sys/bus/pci/drivers_probe'
ip link set dev eth0 vf 1 mac 52:54:00:92:01:e1 vlan 200
modprobe vfio-pci
if [ -e /sys/bus/pci/devices/0000:01:10.2/driver ]; then echo 0000:01:10.2 > /sys/bus/pci/devices/0000:01:10.2/driver/unbind; fi
echo vfio-pci > /sys/bus/pci/devices/0000:01:10.2/driver_override
echo 0000:01:10.2 > /sys/bus/pci/drivers_probe
later 'echo > /sys/bus/pci/devices/0000:01:10.2/driver_override && echo 0000:01:10.2 > /sys/bus/pci/drivers/vfio-pci/unbind && echo 0000:01:10.2 > /sys/bus/pci/drivers_probe'
ip link set dev eth0 vf 2 mac 52:54:00:df:73:52
modprobe vfio-pci
if [ -e /sys/bus/pci/devices/0000:01:10.4/driver ]; then echo 0000:01:10.4 > /sys/bus/pci/devices/0000:01:10.4/driver/unbind; fi
echo vfio-pci > /sys/bus/pci/devices/0000:01:10.4/driver_override
echo 0000:01:10.4 > /sys/bus/pci/drivers_probe
later 'echo > /sys/bus/pci/devices/0000:01:10.4/driver_override && echo 0000:01:10.4 > /sys/bus/pci/drivers/vfio-pci/unbind && echo 0000:01:10.4 > /sys/bus/pci/drivers_probe'
ip -n wire link show dev eth1 up | grep -q . || later ip -n wire link set dev eth1 down
ip -n wire link set dev eth1 up
ip -n wire link add link eth1 name vlan100 type vlan id 100
later 'ip -n wire link del dev vlan100'
ip -n wire link show dev vlan100 up | grep -q . || later ip -n wire link set dev vlan100 down
ip -n wire link set dev vlan100 up
ip -n wire link add link eth1 name vlan200 type vlan id 200
later 'ip -n wire link del dev vlan200'
ip -n wire link show dev vlan200 up | grep -q . || later ip -n wire link set dev vlan200 down
ip -n wire link set dev vlan200 up
ip -n wire address add 10.77.8.1/24 dev vlan100
later 'ip -n wire address del 10.77.8.1/24 dev vlan100'
ip -n wire address add 10.77.16.1/24 dev vlan200
later 'ip -n wire address del 10.77.16.1/24 dev vlan200'
ip -n wire address add 10.77.0.1/24 dev eth1
later 'ip -n wire address del 10.77.0.1/24 dev eth1'

qemu-system-x86_64 \
    -name one \
    -nodefaults \
    -no-user-config \
    -machine q35,hpet=off,i8042=off,sata=off,smbus=off,vmport=off \
    -bios qboot.rom \
    -accel kvm \
    -cpu host \
    -smp 1 \
    -m 192M \
    -display none \
    -no-reboot \
    -kernel /usr/share/hoplab/guest/vmlinux \
    -initrd /usr/share/hoplab/guest/initrd \
    -append 'console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off no_timer_check tsc=reliable pci=lastbus=0 8250.nr_uarts=1 i8042.noaux=1 i8042.nokbd=1 rodata=off noreplace-smp rcupdate.rcu_expedited=1 init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off lsm=capability audit=0 numa=off cryptomgr.notests=1 initcall_blacklist=agp_init,blacklist_init,crypto_kdf108_init,init_encrypted,jent_mod_init,load_system_certificate_list,serial_pci_driver_init' \
    -serial file:one.console \
    -chardev socket,id=qmp,path=one.qmp,server=on,wait=off \
    -mon chardev=qmp,mode=control \
    -device virtio-serial-pci \
    -chardev socket,id=agent,path=one.agent,server=on,wait=off \
    -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
    -device pcie-root-port,id=rp0,chassis=1 \
    -device vfio-pci,host=0000:01:10.0,id=nic0,bus=rp0 &
later "{ kill $!; wait $!; } 2> /dev/null || true"
qemu-system-x86_64 \
    -name two \
    -nodefaults \
    -no-user-config \
    -machine q35,hpet=off,i8042=off,sata=off,smbus=off,vmport=off \
    -bios qboot.rom \
    -accel kvm \
    -cpu host \
    -smp 1 \
    -m 192M \
    -display none \
    -no-reboot \
    -kernel /usr/share/hoplab/guest/vmlinux \
    -initrd /usr/share/hoplab/guest/initrd \
    -append 'console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off no_timer_check tsc=reliable pci=lastbus=0 8250.nr_uarts=1 i8042.noaux=1 i8042.nokbd=1 rodata=off noreplace-smp rcupdate.rcu_expedited=1 init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off lsm=capability audit=0 numa=off cryptomgr.notests=1 initcall_blacklist=agp_init,blacklist_init,crypto_kdf108_init,init_encrypted,jent_mod_init,load_system_certificate_list,serial_pci_driver_init' \
    -serial file:two.console \
    -chardev socket,id=qmp,path=two.qmp,server=on,wait=off \
    -mon chardev=qmp,mode=control \
    -device virtio-serial-pci \
    -chardev socket,id=agent,path=two.agent,server=on,wait=off \
    -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
    -device pcie-root-port,id=rp0,chassis=1 \
    -device vfio-pci,host=0000:01:10.2,id=nic0,bus=rp0 &
later "{ kill $!; wait $!; } 2> /dev/null || true"
qemu-system-x86_64 \
    -name three \
    -nodefaults \
    -no-user-config \
    -machine q35,hpet=off,i8042=off,sata=off,smbus=off,vmport=off \
    -bios qboot.rom \
    -accel kvm \
    -cpu host \
    -smp 1 \
    -m 192M \
    -display none \
    -no-reboot \
    -kernel /usr/share/hoplab/guest/vmlinux \
    -initrd /usr/share/hoplab/guest/initrd \
    -append 'console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off no_timer_check tsc=reliable pci=lastbus=0 8250.nr_uarts=1 i8042.noaux=1 i8042.nokbd=1 rodata=off noreplace-smp rcupdate.rcu_expedited=1 init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off lsm=capability audit=0 numa=off cryptomgr.notests=1 initcall_blacklist=agp_init,blacklist_init,crypto_kdf108_init,init_encrypted,jent_mod_init,load_system_certificate_list,serial_pci_driver_init' \
    -serial file:three.console \
    -chardev socket,id=qmp,path=three.qmp,server=on,wait=off \
    -mon chardev=qmp,mode=control \
    -device virtio-serial-pci \
    -chardev socket,id=agent,path=three.agent,server=on,wait=off \
    -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
    -device pcie-root-port,id=rp0,chassis=1 \
    -device vfio-pci,host=0000:01:10.4,id=nic0,bus=rp0 &
later "{ kill $!; wait $!; } 2> /dev/null || true"

wait
