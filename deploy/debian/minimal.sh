# Sourced by tests that need a minimal Debian; they define `fail`.

suite=bookworm
# Outside the checkout, so that a fresh one need not load it again.
cache="${TIDEGATE_CACHE:-$HOME/.cache/tidegate}"

# A minimal Debian with what the package depends on, made once a month.
minimal_debian() {
  local tarball="$cache/$suite-minimal.tar" new
  if [ -z "$(find "$tarball" -mtime -30 2>/dev/null)" ]; then
    mkdir -p "$cache"
    new="$(mktemp -d)"
    trap 'rm -rf --one-file-system "$new"' RETURN
    debootstrap --variant=minbase --include=systemd-standalone-sysusers,logrotate "$suite" "$new/root" >"$new/log" 2>&1 ||
      { tail -n 20 "$new/log" >&2; fail "debootstrap failed"; }
    rm -rf "$new"/root/var/cache/apt/archives/*.deb "$new"/root/var/lib/apt/lists/*
    tar -C "$new/root" -cf "$tarball.new" . && mv "$tarball.new" "$tarball"
  fi
  echo "$tarball"
}
