"""Closed-loop load on one server, and what it cost that server.

Each function runs one load generator on the clients' cores for some seconds and returns a Sample. A generator that saw
wrong answers makes the run fail: fast and wrong is not fast.
"""

import dataclasses
import os
import re
import subprocess

import programs
from processes import Failed

HOST = "www.example.test"
# Open connections of a client population, busy all the time.
CONNECTIONS = 64
H2_CONNECTIONS, H2_STREAMS = 8, 8
DNS_CLIENTS, DNS_OUTSTANDING = 8, 200
# More than this share of unanswered questions is not the kernel dropping a packet at the end of a run.
LOST_SHARE_MAX = 0.001


@dataclasses.dataclass
class Sample:
    """One measurement of one server."""

    count: int
    """Answered queries or requests."""
    per_second: float
    cpu_us: float
    """CPU time of the whole server for each of them."""


def dns(process, port, questions, seconds, cores):
    """Questions from a file of dnsperf's form; every answer must be NOERROR."""
    said, cpu = _run(process, cores, [
        programs.path("dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-d", questions, "-l", str(seconds),
        "-c", str(DNS_CLIENTS), "-q", str(DNS_OUTSTANDING),
    ])
    sent, done = _number(said, r"Queries sent:\s+(\d+)"), _number(said, r"Queries completed:\s+(\d+)")
    if sent - done > max(DNS_OUTSTANDING, sent * LOST_SHARE_MAX):
        raise Failed(f"{process.name} left {sent - done:.0f} of {sent:.0f} questions unanswered")
    if codes := [code for code in re.findall(r"([A-Z]+) \d+ \(", said) if code != "NOERROR"]:
        raise Failed(f"{process.name} answered {', '.join(codes)}")
    return _sample(done, _number(said, r"Queries per second:\s+([\d.]+)"), cpu)


def http1(process, url, seconds, cores):
    """GETs over kept-alive HTTP/1.1 connections, with or without TLS."""
    said, cpu = _run(process, cores, [
        programs.path("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"Host: {HOST}", url,
    ])
    for wrong in (r"Non-2xx or 3xx responses: (\d+)", r"Socket errors: (.*)"):
        if found := re.search(wrong, said):
            raise Failed(f"{process.name} at {url}: {found.group()}")
    return _sample(_number(said, r"(\d+) requests in"), _number(said, r"Requests/sec:\s+([\d.]+)"), cpu)


def http2(process, port, path, seconds, cores):
    """GETs over HTTP/2 on TLS."""
    said, cpu = _run(process, cores, [
        programs.path("h2load"), "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", f"-D{seconds}",
        f"--connect-to=127.0.0.1:{port}", f"https://{HOST}:{port}{path}",
    ])
    if "Application protocol: h2" not in said:
        raise Failed(f"{process.name} did not speak HTTP/2:\n{said}")
    total, failed = _number(said, r"requests: (\d+) total"), _number(said, r"(\d+) failed")
    good = _number(said, r"status codes: (\d+) 2xx")
    if failed or good != total:
        raise Failed(f"{process.name}, HTTP/2: {total - good:.0f} of {total:.0f} requests without a 2xx")
    return _sample(total, _number(said, r"finished in [\d.]+m?s, ([\d.]+) req/s"), cpu)


def _run(process, cores, command):
    """What the generator said, and the seconds of CPU that the server used meanwhile."""
    before = process.cpu_seconds()
    said = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    cpu = process.cpu_seconds() - before
    if said.returncode != 0:
        raise Failed(f"{' '.join(command)} failed:\n{said.stdout}{said.stderr}")
    return said.stdout, cpu


def _number(text, pattern):
    found = re.search(pattern, text)
    if not found:
        raise Failed(f"`{pattern}` is not in what the load generator said:\n{text}")
    return float(found.group(1))


def _sample(count, per_second, cpu):
    if count == 0:
        raise Failed("the load generator got no answer at all")
    return Sample(int(count), per_second, cpu / count * 1e6)
