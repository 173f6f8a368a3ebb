#!/bin/busybox sh
# /init of the guest. Its root is an initramfs of our own; mgetty, pppd and their libraries come from target/peers,
# read-only. Lines that begin with @ are for the harness, which writes commands to our standard input, the console.
export PATH=/bin:/usr/sbin:/usr/bin:/sbin
/bin/busybox --install -s /bin
stty -echo
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
# nosuid: pppd is setuid to whoever unpacked it, and has to stay the guest's root.
mount -t hostfs -o nosuid -o "ro,$(sed -n 's/.* peers=\([^ ]*\).*/\1/p' /proc/cmdline)" none /peers
modules=/usr/lib/uml/modules/$(uname -r)/kernel
for module in lib/crc-ccitt drivers/net/slip/slhc drivers/net/ppp/ppp_generic drivers/net/ppp/ppp_async; do
    # What is a module of one kernel is built into another.
    [ -e "$modules/$module.ko" ] || continue
    insmod "$modules/$module.ko" || echo "@failed insmod $module"
done
hostname stranger
ifconfig lo 127.0.0.1 up
httpd -p 80 -h /www
echo @ready
while read -r command; do eval "$command"; done
poweroff -f
