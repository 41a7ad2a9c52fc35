"""The figures as a page for people, and as JSON for programs."""

import dataclasses
import json
import os

import gap

NAMES = {"tidegate": "Tidegate", "gdnsd": "gdnsd", "nsd": "NSD", "knot": "Knot", "haproxy": "HAProxy", "nginx": "nginx"}


@dataclasses.dataclass
class Found:
    """What a run has measured."""

    samples: dict = dataclasses.field(default_factory=dict)
    """By workload and server."""
    tables: list = dataclasses.field(default_factory=list)
    """(workload, rows)"""
    gaps: list = dataclasses.field(default_factory=list)
    """(scenario, results by server)"""
    reloads: tuple | None = None
    """(results, rates)"""
    probes: object = None


def markdown(facts, versions, how, found):
    """The whole page."""
    parts = [_head(facts, versions, how)]
    for title, unit, kind in (("DNS", "query", "dns"), ("HTTP", "request", "http")):
        own = [(workload, rows) for workload, rows in found.tables if workload.name.startswith(kind)]
        if own:
            parts.append(f"## {title}: CPU time per {unit}\n\n{_cpu_table(own, unit)}")
    if found.gaps:
        parts.append(f"## When an origin fails\n\n{_gap_text(how)}\n\n{_gap_table(found.gaps)}")
    if found.reloads:
        results, rates = found.reloads
        parts.append(f"## Reloads under load\n\n{_reload_text(results, rates)}\n\n{_reload_table(results)}")
    if found.probes:
        parts.append(f"## Checks of a large fleet\n\n{_probe_text(found.probes)}")
    return "\n\n".join(parts) + "\n"


def write_json(path, facts, versions, how, found):
    """Every single measurement."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    results, rates = found.reloads or ([], None)
    whole = {
        "machine": facts,
        "versions": versions,
        "how": how,
        "samples": {
            name: {server: [dataclasses.asdict(one) for one in many] for server, many in servers.items()}
            for name, servers in found.samples.items()
        },
        "gaps": [
            {**dataclasses.asdict(scenario), **{server: dataclasses.asdict(one) for server, one in results.items()}}
            for scenario, results in found.gaps
        ],
        "reloads": {"rates": rates, "runs": [dataclasses.asdict(one) for one in results]},
        "probes": dataclasses.asdict(found.probes) if found.probes else None,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(whole, file, indent=1)


def _head(facts, versions, how):
    machine = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    programs = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"""\
# Beside its peers: the last named run

Written by `make bench-peers`, which repeats it in about twelve minutes on a machine with two cores and nothing else to do.
[README.md](README.md) says what is measured and how. Compare figures of one run only.

| machine | |
| --- | --- |
{machine}

{programs}.

{how["rounds"]} rounds in alternation, {how["seconds"]} s for each measurement. CPU time is that of the whole server, user and system;
figures are medians, with the lowest and the highest of the rounds. Ratios are taken within a round."""


def _cpu_table(tables, unit):
    lines = [f"| what | server | us per {unit} | ratio | {'queries' if unit == 'query' else 'requests'}/s |", "| --- | --- | --- | --- | --- |"]
    for workload, rows in tables:
        for row in rows:
            what = workload.what if row is rows[0] else ""
            ratio = "1" if row is rows[1] else _spread(row.ratio)
            lines.append(f"| {what} | {NAMES[row.server]} | {_spread(row.cpu_us)} | {ratio} | {row.per_second:,.0f} |")
    return "\n".join(lines)


def _spread(spread):
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def _gap_text(how):
    return f"""\
{how["gap_rate"]} requests/s in an open loop for {how["gap_seconds"]:g} s; the first main origin is struck after {how["gap_strike_at"]:g} s. Failed: not a 200, or a broken
connection. Worst: the longest answer of those sent from then on. First from DR, and recovered (when the last request began that failed or
took over {gap.PROMPT_SECONDS * 1000:.0f} ms): milliseconds after the strike. POSTs that an origin executed twice are counted at the origins."""


def _gap_table(gaps):
    lines = [
        "| the origin | requests | main origins | proxy | failed | worst ms | first from DR ms | recovered ms | twice |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for scenario, results in gaps:
        requests = f"{scenario.method}, spill {scenario.spill}"
        for server, one in results.items():
            what = f"{scenario.strike} | {requests} | {scenario.mains}" if server == "tidegate" else " |  | "
            dr = "never" if one.first_dr_ms is None else f"{one.first_dr_ms:.0f}"
            failed = _failed(one)
            lines.append(
                f"| {what} | {NAMES[server]} | {failed} | {one.worst_ms:.0f} | {dr} | {one.recovered_ms:.0f} | {one.executed_twice} |"
            )
    return "\n".join(lines)


def _failed(one):
    kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(one.kinds.items()))
    return f"{one.failed} of {one.sent} ({kinds})" if kinds else f"0 of {one.sent}"


def _reload_text(results, rates):
    return f"""\
{rates[0]:,} requests/s and {rates[1]:,} questions/s in an open loop, each an eighth of what the core can do of it alone, and {results[0].tunnels} tunnels
that echo; the same without and with SIGHUPs, each of which loads a changed zone and adds or removes an origin and a listener.
Failed: no 2xx, or a closed connection."""


def _reload_table(results):
    lines = [
        "| SIGHUPs | requests failed | worst ms | questions unanswered | worst ms | tunnels dropped |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in results:
        requests, questions = f"{one.failed} of {one.requests:,}", f"{one.unanswered} of {one.questions:,}"
        tunnels = f"{one.dropped} of {one.tunnels}"
        lines.append(
            f"| {one.reloads} | {requests} | {one.worst_request_ms:.0f} | {questions} | {one.worst_question_ms:.0f} | {tunnels} |"
        )
    return "\n".join(lines)


def _probe_text(one):
    return f"""\
{one.origins:,} origins, checked every second over plain HTTP on kept connections: {one.checks_per_second:,.0f} checks a second take
{one.cpu_share:.0%} of one core and {one.rss_mib:.0f} MiB. As the origins saw it, {one.late} checks came more than 1.5 s after the one before; the longest
interval was {one.worst_interval_ms:.0f} ms."""
