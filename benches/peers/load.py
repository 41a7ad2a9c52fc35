"""Load on one server, from generators on the clients' cores.

Closed loops tell what a server can do and what that costs it; one that saw wrong answers makes the run fail: fast and wrong
is not fast. Open loops keep to a rate, run beside what the caller does, and count what went wrong.
"""

import concurrent.futures
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


def open_http1(port, rate, seconds, cores):
    """GETs at a rate over kept-alive HTTP/1.1 connections. A future of (requests, failed, worst milliseconds); a connection
    that is closed early asks nothing more, and what it should have asked counts as failed."""
    each = rate / CONNECTIONS
    return _beside(lambda: _open_http1(port, each, seconds, cores))


def _open_http1(port, each, seconds, cores):
    said = _said(cores, [
        programs.path("h2load"), "--h1", "-t1", f"-c{CONNECTIONS}", f"-D{seconds}", f"--rps={each:.3f}",
        f"--connect-to=127.0.0.1:{port}", f"http://{HOST}:{port}/",
    ])
    total, good = _number(said, r"requests: (\d+) total"), _number(said, r"status codes: (\d+) 2xx")
    # The last turn of each connection may fall behind the end.
    missing = max(0, int((each * seconds - 2) * CONNECTIONS - total))
    worst = re.search(r"time for request:\s+\S+\s+([\d.]+)(us|ms|s)", said)
    unit = {"us": 0.001, "ms": 1, "s": 1000}[worst.group(2)]
    return int(total), int(total - good) + missing, float(worst.group(1)) * unit


def open_dns(port, questions, rate, seconds, cores):
    """Questions at a rate. A future of (questions, unanswered or answered wrongly, worst milliseconds)."""
    return _beside(lambda: _open_dns(port, questions, rate, seconds, cores))


def _open_dns(port, questions, rate, seconds, cores):
    said = _said(cores, [
        programs.path("dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-d", questions, "-l", str(seconds),
        "-c", str(DNS_CLIENTS), "-Q", str(rate),
    ])
    sent = _number(said, r"Queries sent:\s+(\d+)")
    good = sum(int(count) for code, count in re.findall(r"([A-Z]+) (\d+) \(", said) if code == "NOERROR")
    worst = _number(said, r"Average Latency \(s\):\s+[\d.]+ \(min [\d.]+, max ([\d.]+)\)")
    return int(sent), int(sent) - good, worst * 1000


def _beside(work):
    """Runs it in a thread; its result, or what it raised, is in the future."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def _run(process, cores, command):
    """What the generator said, and the seconds of CPU that the server used meanwhile."""
    before = process.cpu_seconds()
    said = _said(cores, command)
    return said, process.cpu_seconds() - before


def _said(cores, command):
    said = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if said.returncode != 0:
        raise Failed(f"{' '.join(command)} failed:\n{said.stdout}{said.stderr}")
    return said.stdout


def _number(text, pattern):
    found = re.search(pattern, text)
    if not found:
        raise Failed(f"`{pattern}` is not in what the load generator said:\n{text}")
    return float(found.group(1))


def _sample(count, per_second, cpu):
    if count == 0:
        raise Failed("the load generator got no answer at all")
    return Sample(int(count), per_second, cpu / count * 1e6)
