"""Where a run happens: the facts that its figures depend on, and who gets which core."""

import datetime
import os
import platform
import subprocess


class Cores:
    """One core for the server under test, the others for clients and origins."""

    def __init__(self):
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise SystemExit("this needs two cores: one for the server, one for clients and origins")
        self.server = {usable[0]}
        self.clients = set(usable[1:])


def facts(root):
    """What a reader needs to judge the figures, in the order it is printed."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(root),
        "CPU": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _commit(root):
    def git(*arguments):
        said = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=False)
        return said.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD") or "not a git checkout"
    # The result file of the last run says nothing about the program.
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benches/RESULTS.md")
    return f"{commit} with uncommitted changes" if changed else commit


def _cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()
