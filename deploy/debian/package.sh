#!/usr/bin/env bash
# Builds the Debian package into target/debian. The profile is cargo's; `release` unless another is named, which is for
# tests of the package on a machine that has just built that one.
#
# usage: deploy/debian/package.sh [PROFILE]
set -euo pipefail
cd "$(dirname "$0")/../.."

profile="${1:-release}"
target="${CARGO_TARGET_DIR:-target}"
folder="$profile"
[ "$profile" = dev ] && folder=debug
stage=target/package
tools="${TIDEGATE_TOOLS:-$HOME/.cache/tidegate/tools}"

cargo build --locked --profile "$profile" --bin tidegate
rm -rf "$stage" target/debian
mkdir -p "$stage/man" "$stage/completions"
# Symbols are for whoever debugs; what a stack trace needs of lines goes with them.
strip --strip-all -o "$stage/tidegate" "$target/$folder/tidegate"
"$stage/tidegate" man --out "$stage/man"
"$stage/tidegate" completions bash >"$stage/completions/tidegate"
"$stage/tidegate" completions zsh >"$stage/completions/_tidegate"
"$stage/tidegate" completions fish >"$stage/completions/tidegate.fish"
# Debian wants its own kind of change log; what is new for people is in NEWS.md. The date is that of the last change,
# so that the same sources make the same package.
version="$("$stage/tidegate" --version | cut -d' ' -f2)"
when="$(git log -1 --format=%cD 2>/dev/null || date -R)"
cat >"$stage/changelog" <<END
tidegate ($version-1) unstable; urgency=medium

  * See /usr/share/doc/tidegate/NEWS.md.

 -- The Tidegate authors <tidegate@localhost>  $when
END
PATH="$tools/bin:$PATH" cargo deb --quiet --locked --no-build --no-strip --no-dbgsym --output target/debian
