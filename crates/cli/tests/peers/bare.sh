#!/bin/busybox sh
# /init of a machine that has nothing but busybox and a modem. Lines that begin with @ are for the harness, which writes
# commands to our standard input, the console.
export PATH=/bin:/usr/bin
/bin/busybox --install -s /bin
stty -echo
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in cdrom isofs; do
    insmod /$module.ko || echo "@failed insmod $module"
done
echo @ready
while read -r command; do eval "$command"; done
poweroff -f
