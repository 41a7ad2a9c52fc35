#!/usr/bin/env bash
# Installs the package in a fresh minimal Debian, lives with it, and removes it: what a person does in the first hour
# and on the last day. No systemd runs in there, so the daemon is started as its unit starts it: as the unit's user,
# with the unit's capabilities, in a network of its own.
#
# usage: deploy/debian/test-package.sh [FILE.deb]     as root; the newest of target/debian by default
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
unit="$here/../systemd/tidegate.service"
time_max=600

fail() { echo "test-package: $*" >&2; exit 1; }
. "$here/minimal.sh"

if [ "${1:-}" != inside ]; then
  [ "$(id -u)" -eq 0 ] || fail "needs root, for a chroot and a network of its own; run it with sudo"
  deb="${1:-$(ls -t "$here"/../../target/debian/*.deb 2>/dev/null | head -n 1)}"
  [ -f "$deb" ] || fail "there is no package; make one with: make package"
  tarball="$(minimal_debian)"
  work="$(mktemp -d)"
  trap 'rm -rf --one-file-system "$work"' EXIT
  mkdir "$work/root"
  tar -C "$work/root" -xf "$tarball"
  cp "$deb" "$work/root/tmp/first.deb"
  # Everything that is started or mounted in there ends with it.
  timeout "$time_max" unshare --net --mount --pid --mount-proc --fork --kill-child -- bash "$0" inside "$work"
  exit
fi

work="$2"
root="$work/root"
in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }
step() { echo "-- $*"; }

# Waits for a command to succeed.
eventually() {
  local what="$1" deadline=$((SECONDS + 60))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || { cat "$work/daemon.log" >&2; fail "waited in vain until $what"; }
    sleep 0.1
  done
}

# Every name, with its kind, owner and mode; users and groups; but not what dpkg writes down for itself.
inventory() {
  (cd "$root" && find . -xdev \( -path ./proc -o -path ./tmp -o -path './var/lib/dpkg/*-old' -o -name '*-' \
    -o -path ./var/log/dpkg.log -o -path ./var/lib/dpkg/lock -o -path ./var/lib/dpkg/triggers \) -prune \
    -o -printf '%p %y %U:%G %m\n' | sort)
  sort "$root/etc/passwd" "$root/etc/group" "$root/etc/shadow" "$root/etc/gshadow"
}

# What the unit gives to the program.
of_unit() { sed -n "s/^$1=//p" "$unit"; }
wrapper=()
capabilities="$(of_unit AmbientCapabilities | sed 's/CAP_/+/g' | tr 'A-Z ' 'a-z,')"

as_user() { # CAPABILITIES COMMAND...
  local caps="-all$1"
  shift
  (
    umask "$(of_unit UMask)"
    exec "${wrapper[@]}" chroot "$root" setpriv --reuid="$(of_unit User)" --regid="$(of_unit Group)" --init-groups \
      --bounding-set="$caps" --inh-caps="$caps" --ambient-caps="$caps" --no-new-privs env -i PATH=/usr/bin:/bin "$@"
  )
}

daemon() { # [WRAPPER...] -- CAPABILITIES
  local wrapper=()
  while [ "$1" != -- ]; do wrapper+=("$1"); shift; done
  as_user "$2" $(of_unit ExecStart)
}

start() {
  daemon "$@" -- ",$capabilities" >>"$work/daemon.log" 2>&1 &
  daemon_pid=$!
}

stop() {
  # The only one there is: these are the processes of this script alone.
  kill -TERM "$(pgrep -x tidegate)"
  wait "$daemon_pid" || fail "the daemon ended badly: $(tail -n 5 "$work/daemon.log")"
}

ready() { eventually "the daemon is ready" curl -fsS -o "$work/ready" http://127.0.0.1:9090/readyz; }
asked=0
ask() { # SCHEME OPTION...: each request is counted, for the access log must have it
  local scheme="$1"
  shift
  asked=$((asked + 1))
  curl -sS --max-time 5 --cacert "$work/ca.pem" --resolve "app.example.com:80:192.0.2.10" \
    --resolve "app.example.com:443:192.0.2.10" "$@" "$scheme://app.example.com/"
}
door() { # OPTION...
  dig +short +tries=1 +timeout=2 "$@" @192.0.2.10 app.example.com A
}
by_tls=(+tls "+tls-ca=$work/ca.pem" +tls-hostname=app.example.com)
expect() { [ "$2" = "$3" ] || fail "$1: '$2' is not '$3'"; }
# Whether both halves lead there, with TLS and without. Not in a subshell: requests are counted.
at() { # SITE FRONT-DOOR
  ask http >"$work/http" && ask https >"$work/https" || return
  [ "$(cat "$work/http") $(cat "$work/https")" = "$1 $1" ] && [ "$(door) $(door "${by_tls[@]}")" = "$2 $2" ]
}
lines() { # FILE...: of the access log
  zcat -f "$@" | wc -l
}

certificate() { # FILES-WITHOUT-SUFFIX DAYS: of the test's own authority, for app.example.com
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=app -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -days "$2" -out "$1.pem" \
    -extfile <(echo subjectAltName=DNS:app.example.com) 2>/dev/null
  rm "$1.csr"
}

origin() { # NAME ADDRESS
  mkdir -p "$work/origins/$1"
  printf '%s' "$1" | tee "$work/origins/$1/index.html" >"$work/origins/$1/health"
  python3 -m http.server --bind "$2" --directory "$work/origins/$1" 8080 >/dev/null 2>&1 &
  eventually "origin $1 listens" curl -fsS "http://$2:8080/health"
}

touch "$work/daemon.log"
mount -t proc proc "$root/proc"
ip link set lo up
ip address add 192.0.2.10/32 dev lo
sysctl -qw net.ipv4.ip_unprivileged_port_start=1024
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=authority -days 1 \
  -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null || fail "openssl makes no authority"
# Nothing in there has to survive a loss of power.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/quick"
inventory >"$work/before"

step "install"
in_root dpkg -i /tmp/first.deb >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log" >&2; fail "it does not install"; }
in_root id tidegate >/dev/null || fail "there is no user tidegate"
for wanted in "/etc/tidegate root:tidegate 750" "/etc/tidegate/tidegate.toml root:tidegate 640" \
  "/var/lib/tidegate tidegate:tidegate 700" "/var/log/tidegate tidegate:tidegate 750" \
  "/usr/bin/tidegate root:root 755" "/etc/systemd/system/multi-user.target.wants/tidegate.service root:root 777"; do
  expect "the file" "$(in_root stat -c '%n %U:%G %a' "${wanted%% *}")" "$wanted"
done
for file in man/man1/tidegate.1.gz man/man1/tidegate-explain.1.gz bash-completion/completions/tidegate \
  zsh/vendor-completions/_tidegate fish/vendor_completions.d/tidegate.fish; do
  [ -s "$root/usr/share/$file" ] || fail "there is no /usr/share/$file"
done
in_root logrotate --debug /etc/logrotate.d/tidegate >"$work/logrotate" 2>&1 || fail "$(cat "$work/logrotate")"

step "as installed it runs and serves nobody"
in_root tidegate check | grep -q ": ok, 0 warnings" || fail "its own configuration is not well"
start
ready
in_root tidegate status >/dev/null || fail "root cannot ask it for its status"
[ -z "$(ss -Hltn | grep -v -e 127.0.0.1:9090)" ] || fail "it listens to others: $(ss -Hltn)"
stop

step "start as its own user on ports 80, 443, 53 and 853, with a key for its group"
install -d -o root -g root -m 0755 "$root/etc/tidegate/tls"
certificate "$root/etc/tidegate/tls/app" 1
in_root chown root:tidegate /etc/tidegate/tls/app.key
chmod 0640 "$root/etc/tidegate/tls/app.key"
cat >>"$root/etc/tidegate/tidegate.toml" <<'END'
[site.main]
front_door = ["192.0.2.10"]
[site.dr]
front_door = ["203.0.113.10"]
[group.app]
sites = ["main", "dr"]
stateless = true
failover_after = "500ms"
[service.web]
group = "app"
hosts = ["app.example.com"]
check = { path = "/health", interval = "500ms", fast_interval = "100ms" }
origins.main = [{ url = "http://127.0.0.11:8080" }]
origins.dr = [{ url = "http://127.0.0.12:8080" }]
[zone."example.com"]
file = "example.com.zone"
steer.app = { group = "app", ttl = "30s" }
END
sed -i 's|^# http = .*|http = ["192.0.2.10:80"]|; s|^# https = .*|https = ["192.0.2.10:443"]|
  s|^# dns = .*|dns = ["192.0.2.10:53"]|; s|^# dot = .*|dot = ["192.0.2.10:853"]|
  s|^# access_log = |access_log = |
  s|^# certificates = .*|certificates = [{ cert = "tls/app.pem", key = "tls/app.key" }]|' "$root/etc/tidegate/tidegate.toml"
printf '@ 60 IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.10\n' >"$root/etc/tidegate/example.com.zone"
origin main 127.0.0.11
main_pid=$!
origin dr 127.0.0.12
start strace -f -qq -o "$work/trace"
ready
eventually "the proxy and DNS answer from the main site, with TLS and without" at main 192.0.2.10
expect "the HTTP that is agreed on" "$(curl -sS -o /dev/null --cacert "$work/ca.pem" --http2 -w '%{http_version}' \
  --resolve app.example.com:443:192.0.2.10 https://app.example.com/)" 2
asked=$((asked + 1))
expect "the daemon's user" "$(ps -o user= -C tidegate | sort -u)" "$(in_root id -u tidegate)"
grep -q '^CapEff:.*0000000000000400$' "/proc/$(pgrep -x tidegate)/status" || fail "it has more than CAP_NET_BIND_SERVICE"

step "reload as the unit does"
reload() { as_user "" $(of_unit ExecReload) >"$work/reload" 2>&1; }
cp "$root/etc/tidegate/tidegate.toml" "$work/tidegate.toml"
sed -i 's/ttl = "30s"/ttl = "7s"/' "$root/etc/tidegate/tidegate.toml"
reload || fail "a good configuration is not taken: $(cat "$work/reload")"
[ "$(dig +noall +answer @192.0.2.10 app.example.com A | awk '{ print $2 }')" = 7 ] || fail "the reload changed nothing"
echo 'nonsense = 1' >>"$root/etc/tidegate/tidegate.toml"
if reload; then fail "a broken configuration is taken"; fi
grep -q nonsense "$work/reload" || fail "the refusal does not say why: $(cat "$work/reload")"
at main 192.0.2.10 || fail "a refused reload is felt"
cat "$work/tidegate.toml" >"$root/etc/tidegate/tidegate.toml"
serial() { # the certificate that is served
  openssl s_client -connect 192.0.2.10:443 -servername app.example.com </dev/null 2>/dev/null | openssl x509 -noout -serial
}
before="$(serial)"
certificate "$work/new" 2
cat "$work/new.pem" >"$root/etc/tidegate/tls/app.pem"
if reload; then fail "a key of another certificate is taken"; fi
grep -q "tls/app" "$work/reload" || fail "the refusal does not name the certificate: $(cat "$work/reload")"
expect "the certificate after a refused reload" "$(serial)" "$before"
cat "$work/new.key" >"$root/etc/tidegate/tls/app.key"
chmod 0600 "$root/etc/tidegate/tls/app.key"
if reload; then fail "a key is read that only root may read"; fi
grep -q "tls/app.key" "$work/reload" || fail "the refusal does not name the key: $(cat "$work/reload")"
chmod 0640 "$root/etc/tidegate/tls/app.key"
reload || fail "a renewed certificate is not taken: $(cat "$work/reload")"
[ "$(serial)" != "$before" ] || fail "the renewed certificate is not served"
at main 192.0.2.10 || fail "nothing is served with the renewed certificate"

step "the access log, and its rotation by what the package installs"
log="$root/var/log/tidegate/access.log"
all_written() { [ "$(lines "$log"*)" = "$asked" ]; }
expect "the log" "$(in_root stat -c '%U:%G %a' /var/log/tidegate/access.log)" "tidegate:tidegate 640"
eventually "there is a line for each request" all_written
# systemctl for the one thing that the rotation asks of it: to do what the unit says.
cat >"$root/usr/bin/systemctl" <<END
#!/bin/sh
echo "\$*" >>/tmp/systemctl
exec setpriv --reuid=$(of_unit User) --regid=$(of_unit Group) --init-groups $(of_unit ExecReload)
END
chmod 0755 "$root/usr/bin/systemctl"
mkdir -p "$root/run/systemd/system"
rotate() {
  in_root logrotate --force --state /tmp/logrotate.state /etc/logrotate.d/tidegate >"$work/logrotate" 2>&1 ||
    fail "$(cat "$work/logrotate")"
}
for init in systemd systemd other; do
  [ "$init" = systemd ] || rm -r "$root/usr/bin/systemctl" "$root/run/systemd"
  before="$(lines "$log"*)"
  rotate
  at main 192.0.2.10 || fail "a rotation is felt"
  eventually "the new log has what came after the rotation, and no line is lost" all_written
  expect "lines in the new log" "$(lines "$log")" $((asked - before))
done
expect "the logs" "$(in_root sh -c "cd /var/log/tidegate && stat -c '%n %U:%G %a' *" | xargs)" \
  "$(printf '%s tidegate:tidegate 640 ' access.log access.log.1 access.log.2.gz access.log.3.gz | sed 's/ $//')"
expect "what the rotation asks for" "$(sort -u "$root/tmp/systemctl")" "reload tidegate.service"
python3 - "$log" <<'END' || fail "the log's lines are not what they should be"
import json, sys
for line in map(json.loads, open(sys.argv[1])):
    assert line["code"] == 200 and line["service"] == "web" and line["host"] == "app.example.com", line
    assert line["client"] == "192.0.2.10" and line["fault"] is None, line
END

step "fail over"
{ kill -KILL "$main_pid"; wait "$main_pid" || true; } 2>/dev/null
eventually "the group has failed over" at dr 203.0.113.10
in_root tidegate status | grep -q "active at dr" || fail "status: $(in_root tidegate status)"
in_root tidegate explain app | grep -q "tidegate ack" || fail "explain: $(in_root tidegate explain app)"
if in_root setpriv --reuid=nobody --clear-groups tidegate status --socket /var/lib/tidegate/tidegate.sock >/dev/null 2>&1; then
  fail "anybody can reach the control socket"
fi

step "come home, and go there on purpose"
origin main 127.0.0.11
main_pid=$!
in_root tidegate ack app --reason "main repaired" >/dev/null || fail "the acknowledgement is refused"
home() { in_root tidegate failback app --reason "main is back"; }
eventually "main is fit again" home
at main 192.0.2.10 || fail "the failback is not felt"
in_root tidegate switch app dr --reason "exercise" >/dev/null || fail "the switchover is refused"
at dr 203.0.113.10 || fail "the switchover is not felt"
eventually "every request is in the log, those of the failover too" all_written
stop
"$here/../systemd/syscalls.py" "$unit" "$work/trace"

step "without the capability it says what is missing"
if daemon -- "" >"$work/denied" 2>&1; then fail "it started without the capability"; fi
grep -q CAP_NET_BIND_SERVICE "$work/denied" || fail "$(cat "$work/denied")"

step "reinstall and upgrade keep configuration and state"
cp "$root/etc/tidegate/tidegate.toml" "$work/tidegate.toml"
dpkg-deb -R "$root/tmp/first.deb" "$work/next"
sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
dpkg-deb -Znone --root-owner-group -b "$work/next" "$root/tmp/next.deb" >/dev/null
for deb in first next; do
  in_root dpkg --force-confold -i "/tmp/$deb.deb" >"$work/dpkg.log" 2>&1 || fail "$(cat "$work/dpkg.log")"
  cmp "$work/tidegate.toml" "$root/etc/tidegate/tidegate.toml" || fail "the configuration was changed"
  start
  ready
  eventually "it goes on where it was" at dr 203.0.113.10
  in_root tidegate history | grep -q failover || fail "the history is lost"
  stop
done

step "remove keeps them too"
in_root dpkg -r tidegate >"$work/dpkg.log" 2>&1 || fail "$(cat "$work/dpkg.log")"
[ ! -e "$root/usr/bin/tidegate" ] || fail "the program is still there"
[ -s "$root/var/lib/tidegate/tidegate.redb" ] || fail "the decisions are gone"
cmp "$work/tidegate.toml" "$root/etc/tidegate/tidegate.toml" || fail "the configuration is gone"

step "purge leaves only the administrator's own files"
in_root dpkg -P tidegate >"$work/dpkg.log" 2>&1 || fail "$(cat "$work/dpkg.log")"
expect "what is left in /etc/tidegate" "$(cd "$root/etc/tidegate" && find . -printf '%P %u:%g\n' | sort | xargs)" \
  "root:root example.com.zone root:root tls root:root tls/app.key root:root tls/app.pem root:root"
rm -r "$root/etc/tidegate"
inventory >"$work/after"
diff "$work/before" "$work/after" || fail "the purge leaves (>) or takes (<) these"

echo "the package installs, serves, fails over, upgrades, and leaves nothing behind"
