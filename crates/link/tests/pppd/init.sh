#!/bin/busybox sh
# /init of the guest. Its root is an initramfs of our own; pppd and its libraries come from target/peers, read-only.
# Lines that begin with @ are for the harness, which writes commands to our standard input, the console.
export PATH=/bin:/usr/sbin:/usr/bin
/bin/busybox --install -s /bin
stty -echo
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
# nosuid: pppd is setuid to whoever unpacked it, and has to stay the guest's root.
mount -t hostfs -o nosuid -o "ro,$(sed -n 's/.* peers=\([^ ]*\).*/\1/p' /proc/cmdline)" none /peers
modules=/usr/lib/uml/modules/$(uname -r)/kernel
for module in lib/crc-ccitt drivers/net/slip/slhc drivers/net/ppp/ppp_generic drivers/net/ppp/ppp_async \
    drivers/net/ppp/ppp_deflate drivers/net/ppp/bsd_comp net/ipv6/ipv6; do
    # What is a module of one kernel is built into another.
    [ -e "$modules/$module.ko" ] || continue
    insmod "$modules/$module.ko" || echo "@failed insmod $module"
done
hostname pppd
ifconfig lo 127.0.0.1 up
httpd -p 80 -h /www
stty -F /dev/ttyS0 raw -echo
# The line stays open when pppd ends: a peer that dies is silent, and does not drop the carrier.
exec 3<>/dev/ttyS0
start() {
    { pppd file /etc/ppp/peer; echo "@exit $?"; } &
}
echo @ready
while read -r command; do eval "$command"; done
poweroff -f
