# A machine's life with our packages: each line of it is what an administrator would type, or look at. In version-1.db one
# message waits.
set -eu
exec 2>&1
OLD=0.0.9 NEW=0.1.0
put() { for package; do dpkg --install "/packages/${package}_amd64.deb"; done; }
as_ringup="setpriv --reuid ringup --regid ringup --init-groups env HOME=/nonexistent"
fails() { if "$@"; then echo "succeeded, which it should not: $*"; exit 1; fi; }
installed() { dpkg-query --show --showformat='${Version} ${db:Status-Abbrev}' "$1"; }
# Runs the service as its unit does, until it says that it is there.
serve() {
    mkfifo /tmp/said
    $as_ringup /usr/lib/ringup-server/ringup serve --config /etc/ringup/server.toml >/tmp/said 2>&1 &
    server=$!
    trap 'kill $server' EXIT
    exec 3</tmp/said
    rm /tmp/said
    while read -r line <&3; do
        echo "$line"
        case $line in *'server ready'*) return ;; esac
    done
    echo 'it ended'
    exit 1
}
stop() { kill "$server"; trap - EXIT; wait "$server"; exec 3<&-; }

echo '@step a fresh install'
put "ringup-server_$OLD"
id ringup
id -nG ringup | grep -qw dialout
[ "$(stat -c '%U %a' /var/lib/ringup/server)" = 'ringup 700' ]
[ "$(stat -c '%U %a' /var/lib/ringup)" = 'root 755' ]

echo '@step what the service puts in the place of its folder leads root nowhere'
# As an earlier version left it, when the service owned the parent.
chown ringup:ringup /var/lib/ringup
mkdir -m 755 /tmp/precious
$as_ringup sh -c 'cd /var/lib/ringup && mv server away && ln -s /tmp/precious server'
fails put "ringup-server_$OLD" >/tmp/refused 2>&1
cat /tmp/refused
grep -q '/var/lib/ringup/server is a link' /tmp/refused
[ "$(stat -c '%U %a' /tmp/precious)" = 'root 755' ]
fails $as_ringup rm /var/lib/ringup/server
rm /var/lib/ringup/server
mv /var/lib/ringup/away /var/lib/ringup/server
put "ringup-server_$OLD"
ringup --version
ringup check-config server /etc/ringup/server.toml
test -L /etc/systemd/system/multi-user.target.wants/ringup-server.service

echo '@step an upgrade keeps state and what was changed in the config'
install -o ringup -g ringup -m 600 /packages/version-1.db /var/lib/ringup/server/ringup.db
echo '# ours' >>/etc/ringup/server.toml
put "ringup-server_$NEW"
grep -q '# ours' /etc/ringup/server.toml
serve
$as_ringup ringup message list --config /etc/ringup/server.toml | tee /tmp/list
grep -q 'AZjA3gAAcACAAAAAAACrzQ .* owner: waiting' /tmp/list
$as_ringup ringup store check --config /etc/ringup/server.toml
$as_ringup ringup store backup /var/lib/ringup/backups/one --config /etc/ringup/server.toml
stop

echo '@step a downgrade is refused, and changes nothing'
fails put "ringup-server_$OLD" >/tmp/refused 2>&1
cat /tmp/refused
grep -q 'version 0.1.0 was installed here, and version 0.0.9 may not understand what it has written' /tmp/refused
[ "$(installed ringup-server)" = "$NEW ii " ]
grep -q '# ours' /etc/ringup/server.toml
serve
stop

echo '@step all three beside each other'
put "ringup-terminal_$OLD" "ringup-exchange_$NEW"
ringup check-config exchange /etc/ringup/exchange.toml
ringup check-config terminal /etc/ringup/terminal.toml
ringup serve --help >/dev/null
/usr/lib/ringup-exchange/ringup exchange --help >/dev/null
fails /usr/lib/ringup-terminal/ringup serve --help
ringup-wait --version

echo '@step an upgrade of the terminal keeps its keys and inbox'
$as_ringup sh -c 'echo key >/var/lib/ringup/terminal/key && echo mail >/var/lib/ringup/inbox/mail'
put "ringup-terminal_$NEW"
[ "$(cat /var/lib/ringup/terminal/key /var/lib/ringup/inbox/mail | tr '\n' ' ')" = 'key mail ' ]

echo '@step removed: the config and the state stay; purged: they go, and nothing of the others'
dpkg --remove ringup-server
[ "$(installed ringup-server)" = "$NEW rc " ]
[ "$(readlink -f /usr/bin/ringup)" = /usr/lib/ringup-terminal/ringup ]
test -s /var/lib/ringup/server/ringup.db
grep -q '# ours' /etc/ringup/server.toml
dpkg --purge ringup-server
fails test -e /var/lib/ringup/server
fails test -e /etc/ringup/server.toml
test -s /var/lib/ringup/inbox/mail
test -s /etc/ringup/terminal.toml
test -s /var/lib/ringup/backups/one/ringup.db
rm -r /var/lib/ringup/backups
dpkg --purge ringup-terminal ringup-exchange
fails test -e /var/lib/ringup
fails test -e /etc/ringup
fails test -e /usr/bin/ringup
