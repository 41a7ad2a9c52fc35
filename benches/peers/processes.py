"""Processes of a run: pinned to their cores, measured as a whole, and ended whatever happens."""

import os
import signal
import socket
import subprocess
import time

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 20
# Where the origin of the load listens: a main one, that of the DR site, one to add.
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


class Failed(Exception):
    """The run cannot go on."""


class Process:
    """A server in the foreground. It leads a session of its own, so that its children end with it."""

    def __init__(self, name, command, cores, folder):
        self.name = name
        self._log = os.path.join(folder, f"{name}.log")
        with open(self._log, "ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until(self, is_ready):
        """Polls `is_ready` (False or OSError: not yet) until the server serves."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            if self._child.poll() is not None:
                raise Failed(f"{self.name} ended with {self._child.returncode}; {self.log_tail()}")
            try:
                if is_ready():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} did not serve in {START_SECONDS_MAX} s; {self.log_tail()}")
            time.sleep(0.02)

    def cpu_seconds(self):
        """User and system time of the process and its children so far, dead threads included."""
        return sum(_cpu_seconds(pid) for pid in self._tree())

    def rss_mib(self):
        """Resident memory of the process itself."""
        with open(f"/proc/{self._child.pid}/status", encoding="utf-8") as status:
            line = next(line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def send(self, number):
        """A signal to the process itself; nothing if it has ended."""
        self._child.send_signal(number)

    def stop(self):
        """SIGTERM to all of it, SIGKILL where that does not help within two seconds."""
        for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._child.pid, number)
            except ProcessLookupError:
                break
            if number != signal.SIGCONT and self._ended_within(2):
                break
        self._child.wait()

    def log_tail(self):
        with open(self._log, encoding="utf-8", errors="replace") as log:
            return f"its log ends with:\n{log.read()[-2000:]}"

    def _ended_within(self, seconds):
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _tree(self):
        """The process and its descendants."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (stat := _stat(int(entry))):
                children.setdefault(int(stat[1]), []).append(int(entry))
        found, left = [], [self._child.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            left.extend(children.get(pid, []))
        return found


def _stat(pid):
    """The fields of proc(5)'s stat after the name, from `state` on; None if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _cpu_seconds(pid):
    stat = _stat(pid)
    return (int(stat[11]) + int(stat[12])) / _TICKS_PER_SECOND if stat else 0.0


class Ports:
    """Ports that are free for UDP and TCP on the loopback addresses of a run, and not given twice. They are below the range
    that the kernel hands out by itself, so no client's own port takes one before its server binds it."""

    def __init__(self, first=21_000):
        self._next = first

    def take(self):
        while self._next < 32_000:
            self._next += 1
            if all(_is_free(address, self._next) for address in ADDRESSES):
                return self._next
        raise Failed("no port is free")


def _is_free(address, port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
