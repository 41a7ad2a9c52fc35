"""Servers measured in alternation, and what that says.

Machines change their mind: a neighbour wakes up, a core gets warm. So one round measures every server once, close together
in time, and figures are compared within a round only; the median of those ratios is the result, their range the doubt.
"""

import dataclasses
import statistics


@dataclasses.dataclass
class Workload:
    """What is asked of each of these servers; `measure` takes a server's name and seconds, and gives a Sample."""

    name: str
    what: str
    servers: list
    """Ours first, then the one it is compared to."""
    measure: callable


@dataclasses.dataclass
class Spread:
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        return cls(statistics.median(values), min(values), max(values))


@dataclasses.dataclass
class Row:
    """One server under one workload."""

    server: str
    cpu_us: Spread
    ratio: Spread
    """Its CPU time over that of the one it is compared to, within rounds."""
    per_second: float


def alternate(workload, rounds, seconds, tell):
    """Samples by server, in the order of the rounds. Every second round goes backwards, so that nobody is always first."""
    samples = {server: [] for server in workload.servers}
    for server in workload.servers if rounds > 1 else ():
        workload.measure(server, 1)  # connections and caches get warm
    for number in range(rounds):
        for server in workload.servers if number % 2 == 0 else workload.servers[::-1]:
            sample = workload.measure(server, seconds)
            samples[server].append(sample)
            tell(f"{workload.name}, round {number + 1}: {server} {sample.cpu_us:.2f} us, {sample.per_second:.0f}/s")
    return samples


def compare(workload, samples):
    """A row for each server."""
    base = samples[workload.servers[1]]
    return [
        Row(
            server,
            Spread.of([sample.cpu_us for sample in samples[server]]),
            Spread.of([own.cpu_us / other.cpu_us for own, other in zip(samples[server], base)]),
            statistics.median(sample.per_second for sample in samples[server]),
        )
        for server in workload.servers
    ]
