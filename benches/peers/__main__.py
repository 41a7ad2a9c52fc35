"""Tidegate beside its peers: CPU per query and per request, what clients see when an origin fails, and what a reload costs.

`make bench-peers` runs it whole and writes benches/RESULTS.md; `--smoke` proves in seconds that it works.
"""

import argparse
import os
import resource
import signal
import sys
import tempfile
import time

import gap
import machine
import probes
import programs
import reload
import report
import rounds
import workloads
from processes import Failed
from scene import Scene

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
PARTS = ("dns", "http", "gap", "reload", "probes")


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
            found = _measure(scene, given)
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
    page = report.markdown(facts, versions, how, found)
    raw = os.path.join(TARGET, "bench-peers", f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json")
    report.write_json(raw, facts, versions, how, found)
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
    given.reload_shape, given.probe_shape = reload.Shape(), probes.Shape()
    if given.smoke:
        given.rounds = given.seconds = 1
        given.shape = gap.Shape(rate=100, seconds=2.5, strike_at=0.5)
        given.reload_shape = reload.Shape(reloads=4, seconds=3, capacity_seconds=1)
        given.probe_shape = probes.Shape(services=20, seconds=3)
        given.scenarios = [gap.Scenario("killed", "GET", 1), gap.Scenario("stopped", "POST", 2, "any")]
    if not (given.out or given.smoke or given.only):
        given.out = os.path.join(ROOT, "benches", "RESULTS.md")
    given.only = given.only or PARTS
    return given


def _measure(scene, given):
    """Everything that was asked for."""
    found = report.Found()
    scene.start_origin()
    for workload in workloads.start(scene, given.only):
        samples = rounds.alternate(workload, given.rounds, given.seconds, _tell)
        found.samples[workload.name] = samples
        found.tables.append((workload, rounds.compare(workload, samples)))
    for scenario in given.scenarios if "gap" in given.only else ():
        results = {server: gap.measure(scene, server, scenario, given.shape) for server in gap.SERVERS}
        found.gaps.append((scenario, results))
        for server, one in results.items():
            _tell(f"gap: {scenario}: {server} failed {one.failed} of {one.sent}, worst {one.worst_ms:.0f} ms")
    if "reload" in given.only:
        found.reloads = reload.measure(scene, given.reload_shape, _tell)
    if "probes" in given.only:
        found.probes = probes.measure(scene, given.probe_shape, _tell)
    return found


def _raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tell(line):
    print(line, file=sys.stderr, flush=True)


sys.exit(main())
