# In the guest: a Debian, over what is unpacked in target/peers/debian (read-only), with our packages in /packages.
insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/overlayfs/overlay.ko" || echo "@failed overlay"
mkdir /lower /upper /debian
mount -t hostfs -o "ro,$DEBIAN" none /lower
mount -t tmpfs none /upper
mkdir /upper/new /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/new,workdir=/upper/work none /debian
cd /debian
mkdir -p dev proc tmp packages var/log var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers
mount -t hostfs -o "ro,$PACKAGES" none packages
mount -t proc proc proc
mount -t devtmpfs dev dev
# What their own scripts make where they are installed.
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
ln -s mawk usr/bin/awk
ln -s debian etc/dpkg/origins/default
for part in account auth password session; do
    echo "$part sufficient pam_permit.so" >"etc/pam.d/common-$part"
done
for package in $(chroot . dpkg-query --show --showformat='${binary:Package} ' 2>/dev/null); do
    : >"var/lib/dpkg/info/$package.list"
done
cp /script tmp/script
# By its path: busybox would take its own sh, with its own dpkg.
code=0
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LC_ALL=C.UTF-8 HOME=/root chroot . /bin/sh /tmp/script || code=$?
echo "@end $code"
