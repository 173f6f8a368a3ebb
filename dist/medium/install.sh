#!/bin/sh
# Makes this machine a Ringup terminal, from the medium that this file is on. POSIX sh; busybox is enough; no network.
set -eu
LC_ALL=C
export LC_ALL
umask 022
unset CDPATH

help() {
    cat <<'END'
Makes this machine a Ringup terminal, from the medium that this file is on.

  sh install.sh --dry-run               says what would be done
  sh install.sh                         does it, and starts waiting for calls
  sh install.sh --device /dev/ttyS0     another modem than the medium was made for
  sh install.sh --root /mnt/target      into a system that is not running

  --root DIR        where the system is [default: /]
  --arch ARCH       its architecture, as `uname -m` says there [default: this machine's]
  --device DEVICE   the modem
  --init NAME       what starts services: systemd, openrc or none [default: what is there]
  --no-start        installs, and starts nothing
  --dry-run         changes nothing, says what would be done
  --uninstall       removes programs and services; config, key and inbox stay
  --purge           with --uninstall: removes these, too
  -h, --help        this text

Run again it brings what is older up to date; config, key and inbox stay as they are.
Exit codes: 0 done, 1 not done (the message says why), 2 wrong arguments.
END
}

say() { echo "$*"; }
fail() {
    echo "install.sh: $*" >&2
    exit 1
}
misused() {
    echo "install.sh: $*" >&2
    echo "Try: sh install.sh --help" >&2
    exit 2
}

root='' arch='' device='' init='' work=install is_dry='' is_purge='' is_started=yes
while [ $# -gt 0 ]; do
    case $1 in
    --root | --arch | --device | --init)
        [ $# -ge 2 ] && [ -n "$2" ] || misused "$1 needs a value"
        case $1 in
        --root) root=$2 ;;
        --arch) arch=$2 ;;
        --device) device=$2 ;;
        --init) init=$2 ;;
        esac
        shift
        ;;
    --dry-run) is_dry=yes ;;
    --no-start) is_started='' ;;
    --uninstall) work=uninstall ;;
    --purge) is_purge=yes ;;
    -h | --help)
        help
        exit 0
        ;;
    *) misused "what is $1?" ;;
    esac
    shift
done
[ -z "$is_purge" ] || [ "$work" = uninstall ] || misused "--purge is for --uninstall"

medium=$(cd "$(dirname "$0")" && pwd -P)
if [ -n "$root" ]; then
    [ -d "$root" ] || fail "there is no folder $root"
    root=$(cd "$root" && pwd -P)
    [ "$root" != / ] || root=''
fi
is_here='' # the system that is running
[ -n "$root" ] || is_here=yes
# By the names that the medium has.
medium_arch() {
    case $1 in
    armv8l) echo armv7l ;;
    i386 | i486 | i586) echo i686 ;;
    *) echo "$1" ;;
    esac
}
own_arch=$(medium_arch "$(uname -m)")
arch=$(medium_arch "${arch:-$own_arch}")
if [ -n "$is_here" ] && [ "$(id -u)" != 0 ] && [ -z "$is_dry" ]; then
    fail "only root can do this (or --root DIR, or --dry-run)"
fi
scratch='' made=''
trap 'for folder in "$scratch" "$made"; do [ -z "$folder" ] || rm -rf "$folder"; done' EXIT
trap 'exit 1' HUP INT TERM

# --- what is changed: each change goes through one of these, and --dry-run stops here

# is_new TEXT: says it, and whether it is to be done.
is_new() {
    if [ -n "$is_dry" ]; then
        say "would $*"
        return 1
    fi
    say "$*"
}

# leads_out PATH PLACE: the system below $root has a link there. It is right in that system, and leads into this one from here.
leads_out() {
    fail "$root$1 leads to $2, which is not below $root. Install in that system (chroot), or put a folder in place of the link. Nothing was changed"
}

# stays_inside PATH...: a link in a folder on the way to a file may lead out of $root. Before anything is changed.
stays_inside() {
    [ -n "$root" ] || return 0
    for path in "$@"; do
        # The nearest folder that is there.
        while path=${path%/*} && [ -n "$path" ]; do
            if [ -e "$root$path" ] || [ -L "$root$path" ]; then break; fi
        done
        [ -n "$path" ] || continue
        place=$(cd "$root$path" 2>/dev/null && pwd -P) || leads_out "$path" 'a place that is no folder'
        case $place/ in
        "$root"/*) ;;
        *) leads_out "$path" "$place" ;;
        esac
    done
}

# file_stays_inside PATH...: of files that are written to, and not replaced.
file_stays_inside() {
    stays_inside "$@"
    [ -n "$root" ] || return 0
    for path in "$@"; do
        [ -L "$root$path" ] || continue
        place=$(readlink -f "$root$path") || leads_out "$path" 'nowhere'
        case $place in
        "$root"/*) ;;
        *) leads_out "$path" "$place" ;;
        esac
    done
}

# folder MODE PATH
folder() {
    [ -d "$root$2" ] && return
    if is_new "make the folder $root$2"; then
        mkdir -p "$root$2"
        chmod "$1" "$root$2"
    fi
}

# replace MODE FROM PATH: a power failure leaves the old file or the new one.
replace() {
    if [ -f "$root$3" ] && [ ! -L "$root$3" ] && cmp -s "$2" "$root$3"; then
        return 0
    fi
    if is_new "write $root$3"; then
        mkdir -p "$(dirname "$root$3")"
        rm -f "$root$3.new"
        cp "$2" "$root$3.new"
        chmod "$1" "$root$3.new"
        cmp -s "$2" "$root$3.new" || fail "$root$3.new was not written as it was read: is the disk full, or the medium damaged?"
        # mv would go on to the folder that a link leads to.
        [ ! -L "$root$3" ] || rm -f "$root$3"
        mv -f "$root$3.new" "$root$3"
    fi
}

# remove PATH
remove() {
    if [ -e "$root$1" ] || [ -L "$root$1" ]; then
        if is_new "remove $root$1"; then
            rm -rf "$root$1"
        fi
    fi
}

# run COMMAND...
run() {
    if is_new "run: $*"; then
        "$@"
    fi
}

# --- the medium

# Damage only: whoever changes files can change the checksums, too. README.txt says how tampering is found.
check_medium() {
    cd "$medium"
    [ -f SHA256SUMS ] || fail "$medium has no SHA256SUMS: it is no medium, or a damaged one"
    command -v sha256sum >/dev/null || fail "this machine has no sha256sum, which coreutils and busybox have"
    if [ "$(grep -c '^[0-9a-f]\{64\}  [A-Za-z0-9._@/-]*$' SHA256SUMS)" != "$(wc -l <SHA256SUMS | tr -d ' ')" ]; then
        fail "the medium is damaged: SHA256SUMS is. Nothing was changed"
    fi
    if ! found=$(sha256sum -c SHA256SUMS 2>/dev/null); then
        say "$found" | grep -v ': OK$' >&2 || true
        fail "the medium is damaged: these files are not as they were written. Nothing was changed"
    fi
    for file in install.sh systemd/ringup-wait@.service openrc/ringup-wait udev/60-ringup.rules terminal/starter; do
        is_listed "$file" || fail "the medium is damaged: SHA256SUMS does not have $file. Nothing was changed"
    done
    for program in ringup ringup-wait; do
        if ! is_listed "programs/$arch/$program"; then
            fail "the medium has no programs for $arch, but for: $(ls programs | tr '\n' ' '). Nothing was changed"
        fi
    done
    # Where it is to be enrolled a program of the medium's makes the key: on this machine.
    if is_listed terminal/terminal.bundle && ! is_listed "programs/$own_arch/ringup"; then
        fail "the medium has no programs for this machine ($own_arch), which makes the terminal's key. Nothing was changed"
    fi
    say "the medium is not damaged"
}

is_listed() {
    grep -q "^[0-9a-f]*  $1\$" "$medium/SHA256SUMS"
}

setting() {
    sed -n "s/^$1=//p" "$medium/terminal/starter"
}

# --- the user

# A number that neither a user nor a group has.
free_id() {
    id=999
    while cut -d : -f 3 "$root/etc/passwd" "$root/etc/group" | grep -qx "$id"; do
        id=$((id - 1))
        [ "$id" -ge 100 ] || fail "there is no number left for the user ringup"
    done
    say "$id"
}

has_line() {
    [ -f "$root/etc/$1" ] && grep -q "^$2:" "$root/etc/$1"
}

# The file keeps its owner and mode.
change_file() {
    changed=$(sed "$2" "$root/etc/$1")
    printf '%s' "${changed:+$changed
}" >"$root/etc/$1"
}

make_user() {
    is_member=''
    has_line group dialout && grep '^dialout:' "$root/etc/group" | grep -q '[:,]ringup\(,\|$\)' && is_member=yes
    if has_line passwd ringup && has_line group ringup && [ -n "$is_member" ]; then
        return
    fi
    if ! is_new "make the user ringup, in the group dialout"; then
        return
    fi
    if [ -n "$is_here" ] && command -v useradd >/dev/null && command -v groupadd >/dev/null; then
        for group in dialout ringup; do
            has_line group $group || groupadd --system $group
        done
        if has_line passwd ringup; then
            usermod --append --groups dialout ringup
        else
            useradd --system --gid ringup --groups dialout --home-dir /var/lib/ringup --no-create-home \
                --shell /bin/false ringup
        fi
        return
    fi
    # Small systems have no tools for it, and tools of this system would not know the other one.
    mkdir -p "$root/etc"
    for file in passwd group; do
        [ -f "$root/etc/$file" ] || : >"$root/etc/$file"
    done
    has_line group dialout || echo "dialout:x:$(free_id):" >>"$root/etc/group"
    id=$(free_id)
    has_line group ringup || echo "ringup:x:$id:" >>"$root/etc/group"
    gid=$(sed -n 's/^ringup:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
    has_line passwd ringup || echo "ringup:x:$id:$gid:Ringup:/var/lib/ringup:/bin/false" >>"$root/etc/passwd"
    if [ -f "$root/etc/shadow" ] && ! has_line shadow ringup; then
        echo 'ringup:!:::::::' >>"$root/etc/shadow"
    fi
    if [ -z "$is_member" ]; then
        change_file group 's/^\(dialout:.*:\)$/\1ringup/; t
s/^dialout:.*[^:]$/&,ringup/'
    fi
}

# own ARGUMENT...: for chown, by the numbers of that system.
own() {
    if [ "$(id -u)" = 0 ]; then
        chown "$(sed -n 's/^ringup:[^:]*:\([0-9]*\):\([0-9]*\):.*/\1:\2/p' "$root/etc/passwd")" "$@"
    fi
}

# The user ringup owns what is in /var/lib/ringup, and not that itself: so no link that its programs make can take the place of a folder
# that root works in. What is in those folders is left alone.
state_folders() {
    folder 755 /var/lib/ringup
    if [ -z "$is_dry" ]; then
        [ "$(id -u)" != 0 ] || chown 0:0 "$root/var/lib/ringup"
        chmod 755 "$root/var/lib/ringup"
    fi
    for name in inbox terminal; do
        [ ! -L "$root/var/lib/ringup/$name" ] || fail "$root/var/lib/ringup/$name is a link: put a folder in its place"
    done
    folder 750 /var/lib/ringup/inbox
    [ -n "$is_dry" ] || own "$root/var/lib/ringup/inbox"
}

# --- services

find_init() {
    [ -z "$init" ] || return 0
    init=none
    for file in /usr/lib/systemd/systemd /lib/systemd/systemd; do
        [ ! -e "$root$file" ] || init=systemd
    done
    for file in /sbin/openrc-run /usr/sbin/openrc-run; do
        [ ! -e "$root$file" ] || init=openrc
    done
}

# The device as a systemd instance: `systemd-escape` may not be there.
instance() {
    say "${device#/dev/}" | sed 's/-/\\x2d/g; s|/|-|g'
}

install_service() {
    case $init in
    systemd)
        replace 644 "$medium/systemd/ringup-wait@.service" /etc/systemd/system/ringup-wait@.service
        replace 644 "$medium/udev/60-ringup.rules" /etc/udev/rules.d/60-ringup.rules
        # As `systemctl enable` does, which would have to be of that system.
        wants="/etc/systemd/system/dev-$(instance).device.wants"
        link="$wants/ringup-wait@$(instance).service"
        if [ ! -L "$root$link" ] && is_new "start it whenever $device is there"; then
            mkdir -p "$root$wants"
            ln -s /etc/systemd/system/ringup-wait@.service "$root$link"
        fi
        ;;
    openrc)
        replace 755 "$medium/openrc/ringup-wait" /etc/init.d/ringup-wait
        if [ ! -L "$root/etc/runlevels/default/ringup-wait" ] && is_new "start it in the runlevel default"; then
            mkdir -p "$root/etc/runlevels/default"
            ln -s /etc/init.d/ringup-wait "$root/etc/runlevels/default/ringup-wait"
        fi
        ;;
    esac
}

start_service() {
    case $init in
    systemd)
        [ -d /run/systemd/system ] || return 0
        run systemctl daemon-reload
        if [ -d /run/udev ]; then
            run udevadm control --reload
        fi
        if [ -e "$device" ]; then
            # Returns when the modem is initialised and the starter waits, or after a minute and a half.
            run systemctl --no-ask-password restart "ringup-wait@$(instance).service" || does_not_wait
        fi
        ;;
    openrc)
        [ -d /run/openrc ] || return 0
        run rc-service ringup-wait restart || does_not_wait
        ;;
    esac
}

does_not_wait() {
    fail "all is installed, but ringup-wait does not wait for calls: is the modem at $device, switched on, and of the profile in /etc/ringup/wait.env?"
}

stop_service() {
    if [ "$init" = systemd ] && [ -d /run/systemd/system ]; then
        run systemctl stop 'ringup-wait@*.service'
    elif [ "$init" = openrc ] && [ -d /run/openrc ] && [ -e /etc/init.d/ringup-wait ]; then
        run rc-service ringup-wait stop
    fi
}

# --- the two works

write_settings() {
    profile=$(setting PROFILE)
    scratch=$(mktemp -d)
    if [ ! -f "$root/etc/ringup/wait.env" ]; then
        echo "RINGUP_WAIT_OPTIONS=--profile $profile" >"$scratch/wait.env"
        replace 644 "$scratch/wait.env" /etc/ringup/wait.env
    fi
    if [ "$init" = openrc ] && [ ! -f "$root/etc/conf.d/ringup-wait" ]; then
        printf 'device="%s"\noptions="--profile %s"\n' "$device" "$profile" >"$scratch/conf"
        replace 644 "$scratch/conf" /etc/conf.d/ringup-wait
    fi
    if is_listed terminal/terminal.toml && [ ! -f "$root/etc/ringup/terminal.toml" ]; then
        sed "s|^port = .*|port = \"$device\"|" "$medium/terminal/terminal.toml" >"$scratch/terminal.toml"
        replace 644 "$scratch/terminal.toml" /etc/ringup/terminal.toml
    fi
}

enrol() {
    state=/var/lib/ringup/terminal
    if [ -f "$root$state/enrolment.toml" ]; then
        say "this machine is enrolled already, and stays what it is"
        return
    fi
    is_listed terminal/terminal.bundle || return 0
    if ! is_new "make this machine's key, and enrol it with the bundle on the medium"; then
        return
    fi
    # From a folder where programs may be run, which a medium is mostly not; into that system.
    cp "$medium/programs/$own_arch/ringup" "$scratch/ringup"
    chmod 755 "$scratch/ringup"
    # In a folder that is only root's until it is whole; then it is given away and gets its name.
    made=$(mktemp -d "$root/var/lib/ringup/.new.XXXXXX")
    printf 'state = "%s"\n[terminal]\ncallers = []\ninbox = "inbox"\n' "$made/terminal" >"$scratch/enrol.toml"
    "$scratch/ringup" enrol "$medium/terminal/terminal.bundle" --config "$scratch/enrol.toml" >"$scratch/said" ||
        fail "the terminal could not be enrolled; all else is installed. With a new bundle: ringup enrol"
    own -R "$made/terminal"
    if [ -d "$root$state" ] && ! rmdir "$root$state"; then
        fail "$root$state has something in it and is not enrolled; all else is installed. As the user ringup: ringup enrol"
    fi
    mv "$made/terminal" "$root$state"
    rmdir "$made"
    made=''
    sed -n 1p "$scratch/said"
}

# Packages have a link there.
leave_packages_alone() {
    if [ -L "$root/usr/bin/ringup" ]; then
        fail "$root/usr/bin/ringup is of a package: remove that package first, or go on with packages"
    fi
}

install() {
    leave_packages_alone
    check_medium
    [ -n "$device" ] || device=$(setting DEVICE)
    case $device in
    /dev/*[!A-Za-z0-9._:/-]* | /dev/ | *..*) misused "$device is no name of a device" ;;
    /dev/*) ;;
    *) misused "$device is no device such as /dev/ttyS0" ;;
    esac
    find_init
    case $init in systemd | openrc | none) ;; *) misused "--init is systemd, openrc or none" ;; esac
    file_stays_inside /etc/passwd /etc/group /etc/shadow
    stays_inside /usr/bin/ringup /usr/bin/ringup-wait /usr/share/doc/ringup/file /etc/ringup/file /etc/conf.d/file \
        /var/lib/ringup/inbox/file /var/lib/ringup/terminal/file /etc/systemd/system/file /etc/udev/rules.d/file \
        "/etc/systemd/system/dev-$(instance).device.wants/file" /etc/init.d/file /etc/runlevels/default/file
    make_user
    replace 755 "$medium/programs/$arch/ringup-wait" /usr/bin/ringup-wait
    replace 755 "$medium/programs/$arch/ringup" /usr/bin/ringup
    for file in "$medium"/licences/*; do
        replace 644 "$file" "/usr/share/doc/ringup/${file##*/}"
    done
    write_settings
    state_folders
    enrol
    install_service
    sync
    if [ -n "$is_dry" ]; then
        say "nothing was changed"
        return
    fi
    if [ ! -f "$root/etc/ringup/terminal.toml" ]; then
        say "now write /etc/ringup/terminal.toml, and: ringup enrol BUNDLE --config /etc/ringup/terminal.toml"
        return
    fi
    if [ -n "$is_here" ] && [ -n "$is_started" ]; then
        start_service
    fi
    next
}

next() {
    say "installed; the server's first call enrols this terminal, and brings what waits for it"
    case $init in
    systemd) say "see: systemctl status 'ringup-wait@$(instance)'; messages: ringup inbox list --config /etc/ringup/terminal.toml" ;;
    openrc) say "see: rc-service ringup-wait status; messages: ringup inbox list --config /etc/ringup/terminal.toml" ;;
    none)
        say "nothing here starts services: have your init run this, as the user ringup with the group dialout:"
        say "  /usr/bin/ringup-wait --line $device --config /etc/ringup/terminal.toml $(sed -n 's/^RINGUP_WAIT_OPTIONS=//p' "$root/etc/ringup/wait.env")"
        ;;
    esac
    [ -n "$is_here" ] || return 0
    if [ ! -e "$device" ]; then
        say "there is no $device yet: plug the modem in"
    elif [ "$(ls -lL "$device" | awk '{ print $4 }')" != dialout ]; then
        say "$device is not of the group dialout: let that group read and write it, or ringup-wait cannot"
    fi
}

uninstall() {
    leave_packages_alone
    find_init
    file_stays_inside /etc/passwd /etc/group /etc/shadow
    stays_inside /usr/bin/ringup /usr/share/doc/ringup /etc/ringup/file /etc/conf.d/file /var/lib/ringup/inbox \
        /etc/systemd/system/file /etc/udev/rules.d/file /etc/init.d/file /etc/runlevels/default/file
    for link in "$root"/etc/systemd/system/*.wants/ringup-wait@*.service; do
        stays_inside "${link#"$root"}"
    done
    [ -z "$is_here" ] || stop_service
    for link in "$root"/etc/systemd/system/*.wants/ringup-wait@*.service; do
        [ ! -L "$link" ] || remove "${link#"$root"}"
    done
    for file in /etc/systemd/system/ringup-wait@.service /etc/udev/rules.d/60-ringup.rules \
        /etc/runlevels/default/ringup-wait /etc/init.d/ringup-wait /usr/bin/ringup-wait /usr/bin/ringup \
        /usr/share/doc/ringup; do
        remove "$file"
    done
    if [ -n "$is_here" ] && [ -d /run/systemd/system ]; then
        run systemctl daemon-reload
    fi
    if [ -z "$is_purge" ]; then
        say "kept: $root/etc/ringup, and $root/var/lib/ringup with key and inbox (--purge removes them)"
        return
    fi
    # A server may have what is its own in the same folders.
    for file in /etc/ringup/terminal.toml /etc/ringup/wait.env /etc/conf.d/ringup-wait /var/lib/ringup/terminal \
        /var/lib/ringup/inbox; do
        remove "$file"
    done
    for path in /etc/ringup /var/lib/ringup; do
        if [ -z "$is_dry" ] && [ -d "$root$path" ]; then
            rmdir "$root$path" 2>/dev/null || say "kept: $root$path, in which there is something else"
        fi
    done
    if [ ! -d "$root/var/lib/ringup" ] && has_line passwd ringup && is_new "remove the user ringup"; then
        if [ -n "$is_here" ] && command -v userdel >/dev/null; then
            userdel ringup
            return
        fi
        for file in passwd group shadow; do
            [ ! -f "$root/etc/$file" ] || change_file $file '/^ringup:/d
/^dialout:/s/\([:,]\)ringup,/\1/
/^dialout:/s/,\{0,1\}ringup$//'
        done
    fi
}

$work
