#!/usr/bin/env bash
# Lints the container file, holds what it copies against what the build reads, and lives through what an engine would do
# with the image: no engine is needed, for its last stage is a minimal Debian with a program, a configuration and a
# folder. The program is that of the package.
#
# usage: deploy/container/test-container.sh     as root; after `make package`
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
checkout="$here/../.."
file="$here/Containerfile"

fail() { echo "test-container: $*" >&2; exit 1; }
. "$here/../debian/minimal.sh"

# The JSON list of an instruction of the last stage, as words.
words() { sed -n "s/^$1 *//p" "$file" | tail -n 1 | sed 's/.*\[\(.*\)\].*/\1/; s/[",]/ /g'; }

if [ "${1:-}" != inside ]; then
  [ "$(id -u)" -eq 0 ] || fail "needs root, for a chroot and a network of its own; run it with sudo"
  program="$checkout/target/package/tidegate"
  [ -x "$program" ] || fail "there is no program to put in; make it with: make package"
  "${TIDEGATE_TOOLS:-$HOME/.cache/tidegate/tools}/bin/hadolint" --failure-threshold style "$file"

  work="$(mktemp -d)"
  trap 'rm -rf --one-file-system "$work"' EXIT
  # What the engine is given must hold every file that cargo would read.
  mkdir "$work/context" "$work/root"
  sed -n 's/^!//p' "$checkout/.dockerignore" | (cd "$checkout" && tar -cf - -T -) | tar -C "$work/context" -xf -
  (cd "$work/context" && cargo metadata --format-version 1 --no-deps --locked --offline) |
    python3 -c 'import json, os, sys
paths = [t["src_path"] for p in json.load(sys.stdin)["packages"] for t in p["targets"]]
sys.exit("not in the context: %s" % [p for p in paths if not os.path.exists(p)] if not all(map(os.path.exists, paths)) else 0)' ||
    fail ".dockerignore keeps files from the build"
  for copied in $(sed -n 's/^COPY \([^-. ][^ ]*\) .*/\1/p' "$file"); do
    [ -e "$work/context/$copied" ] || fail ".dockerignore keeps $copied from the image"
  done

  tar -C "$work/root" -xf "$(minimal_debian)"
  user="$(sed -n 's/^USER *//p' "$file")"
  install -D -m 0755 "$program" "$work/root/usr/bin/tidegate"
  install -D -m 0644 "$checkout/deploy/debian/tidegate.toml" "$work/root/etc/tidegate/tidegate.toml"
  install -d -m 0700 -o "${user%:*}" -g "${user#*:}" "$work/root/var/lib/tidegate"
  timeout 120 unshare --net --mount --pid --mount-proc --fork --kill-child -- bash "$0" inside "$work"
  exit
fi

work="$2"
user="$(sed -n 's/^USER *//p' "$file")"
in_container() {
  chroot "$work/root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups --bounding-set=-all \
    --inh-caps=-all --no-new-privs env -i PATH=/usr/bin:/bin "$@"
}
case $user in
0:* | root*) fail "it runs as root" ;;
[1-9]*:[1-9]*) ;;
*) fail "USER is no pair of numbers: $user" ;;
esac

ip link set lo up
mount -t proc proc "$work/root/proc"
# As engines have it, so that a user without any capability may have low ports.
sysctl -qw net.ipv4.ip_unprivileged_port_start=0
sed -i 's|^# http = .*|http = ["0.0.0.0:80"]|; s|^# dns = .*|dns = ["0.0.0.0:53"]|' "$work/root/etc/tidegate/tidegate.toml"
# shellcheck disable=SC2046 # words are what is wanted
in_container $(words ENTRYPOINT) $(words CMD) >"$work/log" 2>&1 &
container=$!
deadline=$((SECONDS + 60))
# shellcheck disable=SC2046
until in_container $(words HEALTHCHECK) >"$work/health" 2>&1 && grep -q '"round_complete": *true' "$work/health"; do
  [ "$SECONDS" -lt "$deadline" ] || fail "it never becomes healthy: $(cat "$work/health" "$work/log")"
  sleep 0.1
done
until [ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:80/)" = 404 ]; do
  [ "$SECONDS" -lt "$deadline" ] || fail "it does not serve: $(cat "$work/log")"
  sleep 0.1
done
signal="$(sed -n 's/^STOPSIGNAL *SIG//p' "$file")"
kill -"$signal" "$(pgrep -x tidegate)"
wait "$container" || fail "it ended badly: $(cat "$work/log")"
# shellcheck disable=SC2046
if in_container $(words HEALTHCHECK) >/dev/null 2>&1; then fail "it is healthy when it is gone"; fi
echo "the container file is clean, and what it makes starts, is healthy, serves and stops as its user"
