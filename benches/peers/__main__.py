"""Tidegate beside its peers: CPU per query and per request, and what clients see when an origin fails.

`make bench-peers` runs it whole and writes benches/RESULTS.md; `--smoke` proves in seconds that it works.
"""

import argparse
import functools
import os
import resource
import signal
import sys
import tempfile
import time

import dns_servers
import gap
import http_servers
import load
import machine
import programs
import report
import rounds
from processes import Failed
from scene import Scene, answers_dns, answers_http

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
PARTS = ("dns", "http", "gap")


def main():
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended then, too
    _raise_descriptor_limit()
    cores = machine.Cores()
    facts = machine.facts(ROOT)
    os.sched_setaffinity(0, cores.clients)
    try:
        programs.require()
        versions = programs.versions()
        binary = programs.tidegate(given.binary)
        with tempfile.TemporaryDirectory(prefix="tidegate-peers-") as folder, Scene(folder, cores, binary) as scene:
            samples, tables, gaps = _measure(scene, given)
    except (programs.Missing, Failed) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    how = {
        "rounds": given.rounds,
        "seconds": given.seconds,
        "gap_rate": given.shape.rate,
        "gap_seconds": given.shape.seconds,
        "gap_strike_at": given.shape.strike_at,
    }
    page = report.markdown(facts, versions, how, tables, gaps)
    raw = os.path.join(TARGET, "bench-peers", f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json")
    report.write_json(raw, facts, versions, how, samples, gaps)
    if given.out:
        with open(given.out, "w", encoding="utf-8") as file:
            file.write(page)
    print(page)
    print(f"every measurement: {raw}")
    return 0


def _arguments():
    parser = argparse.ArgumentParser(prog="benches/peers", description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one short round of everything; writes no results")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part, may be repeated; writes no results")
    parser.add_argument("--rounds", type=int, default=5, help="alternations (default 5)")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement (default 2)")
    parser.add_argument("--binary", help="the tidegate to measure (default the release build; of a smoke the debug build)")
    parser.add_argument("--out", help="where the page goes (default benches/RESULTS.md for a whole run)")
    given = parser.parse_args()
    given.binary = given.binary or os.path.join(TARGET, "debug" if given.smoke else "release", "tidegate")
    given.shape, given.scenarios = gap.Shape(), gap.SCENARIOS
    if given.smoke:
        given.rounds = given.seconds = 1
        given.shape = gap.Shape(rate=100, seconds=2.5, strike_at=0.5)
        given.scenarios = [gap.Scenario("killed", "GET", 1), gap.Scenario("stopped", "POST", 2, "any")]
    if not (given.out or given.smoke or given.only):
        given.out = os.path.join(ROOT, "benches", "RESULTS.md")
    given.only = given.only or PARTS
    return given


def _measure(scene, given):
    """Samples by workload, the tables made of them, and the gaps."""
    samples, tables, gaps = {}, [], []
    scene.start_origin()
    for workload in _workloads(scene, given.only):
        found = rounds.alternate(workload, given.rounds, given.seconds, _tell)
        samples[workload.name] = found
        tables.append((workload, rounds.compare(workload, found)))
    for scenario in given.scenarios if "gap" in given.only else ():
        results = {server: gap.measure(scene, server, scenario, given.shape) for server in gap.SERVERS}
        gaps.append((scenario, results))
        for server, one in results.items():
            _tell(f"gap: {scenario}: {server} failed {one.failed} of {one.sent}, worst {one.worst_ms:.0f} ms")
    return samples, tables, gaps


def _workloads(scene, parts):
    """Starts the servers that these parts need, checks that they answer right, and lists what is asked of them."""
    if not {"dns", "http"} & set(parts):
        return []
    http_ports = {"http": scene.ports.take(), "https": scene.ports.take()}
    dns = dns_servers.start(scene, http_ports)
    http = {"tidegate": (dns["tidegate"][0], http_ports), **http_servers.start(scene)}
    for name, (process, port) in dns.items():
        if not all(answers_dns(port, question) for question in (load.HOST, "h1.example.test", "h1000.example.test")):
            raise Failed(f"{name} answers wrongly; {process.log_tail()}")
    for name, (process, ports) in http.items():
        if not (answers_http(ports["http"]) and answers_http(ports["http"], "/16k", b"x" * 16384)):
            raise Failed(f"{name} answers wrongly; {process.log_tail()}")
    found = _dns_workloads(scene, dns) if "dns" in parts else []
    return found + (_http_workloads(scene, http) if "http" in parts else [])


def _dns_workloads(scene, servers):
    def measure(kind, server, seconds):
        process, port = servers[server]
        return load.dns(process, port, scene.questions[kind], seconds, scene.cores.clients)

    return [
        rounds.Workload(f"dns {kind}", what, list(servers), functools.partial(measure, kind))
        for kind, what in (("static", "A of 1,000 static names"), ("steered", "A of the steered name"))
    ]


def _http_workloads(scene, servers):
    clients = scene.cores.clients

    def http1(scheme, path, server, seconds):
        process, ports = servers[server]
        return load.http1(process, f"{scheme}://127.0.0.1:{ports[scheme]}{path}", seconds, clients)

    listed = (
        ("http tiny", "HTTP/1.1, 32 byte body", functools.partial(http1, "http", "/")),
        ("http 16k", "HTTP/1.1, 16 KiB body", functools.partial(http1, "http", "/16k")),
    )
    return [rounds.Workload(name, what, list(servers), measure) for name, what, measure in listed]


def _raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tell(line):
    print(line, file=sys.stderr, flush=True)


sys.exit(main())
