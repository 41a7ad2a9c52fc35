#!/usr/bin/env bash
# Holds the unit against systemd's own judgement: it understands every line, and finds little to attack.
#
# usage: deploy/systemd/test-unit.sh
set -euo pipefail
cd "$(dirname "$0")"

# systemd's exposure level times ten: 0 is best, 100 worst.
exposure_max=20

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# `verify` wants the program to be there, which it is only where the package is installed; man pages likewise.
sed -e 's|/usr/bin/tidegate|/bin/true|' -e '/^Documentation=/d' tidegate.service >"$work/tidegate.service"
said="$(systemd-analyze verify "$work/tidegate.service" 2>&1)" || { echo "$said" >&2; exit 1; }
# It exits well with lines it does not know; a warning is a fault here.
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
if ! systemd-analyze security --offline=true --threshold="$exposure_max" "$work/tidegate.service" >"$work/security"; then
  cat "$work/security" >&2
  echo "the unit is more exposed than $exposure_max tenths" >&2
  exit 1
fi
tail -n 1 "$work/security"
