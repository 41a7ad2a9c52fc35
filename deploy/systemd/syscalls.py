#!/usr/bin/env python3
"""Says which system calls of a traced daemon its unit's SystemCallFilter would refuse.

usage: syscalls.py UNIT TRACE     TRACE is what `strace -f -o TRACE` wrote; what comes before the daemon's own execve
                                  is not the daemon's
"""

import re
import subprocess
import sys


def sets():
    """Every set that systemd knows, by name: names of calls and of further sets."""
    listing = subprocess.run(["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True).stdout
    known, name = {}, None
    for line in listing.splitlines():
        if line.startswith("@"):
            name = line.strip()
            known[name] = set()
        elif line.startswith("    ") and name and not line.strip().startswith("#"):
            known[name].add(line.strip())
        elif not line.startswith(" "):
            name = None if line.strip() else name
    return known


def expand(known, item):
    if not item.startswith("@"):
        return {item}
    return set().union(*(expand(known, inner) for inner in known[item]))


def allowed(known, unit):
    """The calls that are allowed after every line of the unit, in order."""
    calls = set()
    for line in unit.splitlines():
        if line.startswith("SystemCallFilter="):
            value = line.removeprefix("SystemCallFilter=")
            items = set().union(*(expand(known, item) for item in value.lstrip("~").split()))
            calls = calls - items if value.startswith("~") else calls | items
    # systemd always allows what it needs itself to start a program.
    return calls | expand(known, "@default") | {"execve", "exit", "exit_group", "rt_sigreturn"}


def traced(trace):
    calls, begun = set(), False
    for line in trace:
        begun = begun or bool(re.search(r'execve\("[^"]*/tidegate"', line))
        call = re.match(r"\d+ +(?:<\.\.\. )?([a-z0-9_]+)[( ]", line)
        if begun and call:
            calls.add(call[1])
    return calls


def main():
    unit, trace = sys.argv[1:]
    with open(unit, encoding="utf-8") as file:
        permitted = allowed(sets(), file.read())
    with open(trace, encoding="utf-8", errors="replace") as file:
        used = traced(file)
    if len(used) < 20:
        sys.exit(f"the trace shows only {len(used)} system calls; was it the daemon's?")
    if refused := sorted(used - permitted):
        sys.exit(f"SystemCallFilter would refuse: {', '.join(refused)}")
    print(f"all {len(used)} system calls of the daemon pass the unit's filter")


main()
