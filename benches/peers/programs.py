"""The programs a run needs: what they are for, which package has them, and which version is here."""

import os
import re
import shutil
import subprocess

# name: (Debian package, arguments that print the version)
NEEDED = {
    "gdnsd": ("gdnsd", ["version"]),
    "nsd": ("nsd", ["-v"]),
    "knotd": ("knot", ["--version"]),
    "haproxy": ("haproxy", ["-v"]),
    "nginx": ("nginx-light", ["-v"]),
    "dnsperf": ("dnsperf", ["-h"]),
    "wrk": ("wrk", ["-v"]),
    "h2load": ("nghttp2-client", ["--version"]),
    "openssl": ("openssl", ["version"]),
}


class Missing(Exception):
    """A run without these would be a run about something else, so nothing is left out silently."""


def path(name):
    """Servers are often in sbin, which is not on every user's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def require():
    """Raises Missing, with the packages to install, unless every program is here."""
    missing = {name: package for name, (package, _) in NEEDED.items() if path(name) is None}
    if missing:
        raise Missing(
            f"missing: {', '.join(missing)}\n"
            f"install what has them (the names are Debian's): apt-get install {' '.join(missing.values())}"
        )


def versions():
    """The first thing in each program's own words that looks like a version."""
    return {name: _version(path(name), arguments) for name, (_, arguments) in NEEDED.items()}


def _version(program, arguments):
    said = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", said.stdout + said.stderr)
    return found.group() if found else "unknown"


def tidegate(given):
    """The binary under test, as an absolute path."""
    if not os.access(given, os.X_OK):
        raise Missing(f"{given} is not there: build it (`make bench-peers` does), or name another one with `--binary PATH`")
    return os.path.abspath(given)
