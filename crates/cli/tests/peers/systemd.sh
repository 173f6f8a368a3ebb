#!/bin/busybox sh
# /init of a machine that runs systemd, udev and the journal of target/peers (read-only), and none of Debian's own services: what
# systemd is to start stands in /etc. Lines that begin with @ are for the harness, which writes commands to the console.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
for module in cdrom isofs; do
    insmod /$module.ko || echo "@failed insmod $module"
done
peers=$(sed -n 's/.* peers=\([^ ]*\).*/\1/p' /proc/cmdline)
umount /proc

# Services get mount namespaces of their own, which are not to be had on the first file system.
mount -t tmpfs -o mode=755 tmpfs /new
cd /new
for folder in bin dev proc sys run tmp root home srv mnt peers usr/bin usr/share var/lib var/log var/tmp etc/systemd/system; do
    mkdir -p $folder
done
chmod 1777 tmp var/tmp srv
ln -s ../run var/run
cp /bin/busybox bin/
for applet in $(busybox --list); do
    [ $applet = busybox ] || ln -s busybox bin/$applet
done
mount -t hostfs -o "nosuid,ro,$peers" none peers
ln -s bin sbin
for folder in lib lib64; do ln -s peers/$folder $folder; done
for folder in lib sbin; do ln -s ../peers/usr/$folder usr/$folder; done
for program in systemctl udevadm journalctl; do ln -sf ../peers/bin/$program bin/$program; done
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
printf '%s:x:%s:\n' root 0 tty 5 disk 6 dialout 20 >etc/group
: >etc/machine-id
cd etc/systemd/system
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-journald.service \
    systemd-journald.socket systemd-journald-dev-log.socket; do
    ln -s /peers/lib/systemd/system/$unit .
done
for target in sysinit basic shutdown umount sockets timers paths slices; do
    printf '[Unit]\nDefaultDependencies=no\n' >$target.target
done
cat >default.target <<'UNIT'
[Unit]
DefaultDependencies=no
Requires=systemd-udevd.service systemd-journald.service sysinit.target basic.target
After=systemd-udevd.service systemd-journald.service
UNIT
cat >/new/console.sh <<'SCRIPT'
until systemctl is-active -q default.target 2>/dev/null; do usleep 50000; done
udevadm trigger --action=add --sysname-match=ttyS0
udevadm settle
stty -echo # systemd has set the console anew
echo @ready
while read -r command; do eval "$command"; done
poweroff -f
SCRIPT
cat >/new/second-init <<'SCRIPT'
#!/bin/sh
export PATH=/bin:/usr/bin
sh /console.sh </dev/console >/dev/console 2>&1 &
export SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system
exec /lib/systemd/systemd --log-target=journal-or-kmsg --show-status=no
SCRIPT
chmod 755 /new/second-init
mount -t devtmpfs dev /new/dev
cd /
exec switch_root /new /second-init
