"""What checking a large fleet costs: every origin of a thousand services, each second, over plain HTTP on kept connections.

One nginx is all origins: they are addresses of 127.0.0.0/8, and it writes down when which of them was asked. So lateness is
what origins saw, and not what the daemon believes of itself.
"""

import collections
import dataclasses
import os
import time

import ours
import programs
from processes import Failed, Process

INTERVAL = 1.0
SITES = ("main", "dr", "third")
SERVICES_PER_GROUP = 10
# Until every origin has been asked several times and what starts has settled.
WARM_UP_SECONDS = 8


@dataclasses.dataclass(frozen=True)
class Shape:
    services: int = 1000
    origins_per_site: int = 4
    seconds: int = 20


@dataclasses.dataclass
class Result:
    origins: int
    checks_per_second: float
    cpu_share: float
    """Of one core."""
    late: int
    """Checks that came more than one and a half intervals after the one before."""
    worst_interval_ms: float
    rss_mib: float


def measure(scene, shape, tell):
    """The daemon on a core of its own, with nothing to do but check."""
    folder = os.path.normpath(scene.path("probes", ""))
    port, admin = scene.ports.take(), scene.ports.take()
    log = os.path.join(folder, "asked")
    origins = _addresses(shape)
    with _origin(scene, port, log, folder) as origin:
        origin.wait_until(lambda: os.path.exists(log))
        config = scene.write(_config(folder, shape, origins, port, admin), "probes", "tidegate.toml")
        with Process("tidegate-probes", ours.command(scene, config), scene.cores.server, folder) as daemon:
            daemon.wait_until(lambda: ours.is_ready(admin))
            time.sleep(WARM_UP_SECONDS)
            begin, used = time.time(), daemon.cpu_seconds()
            time.sleep(shape.seconds)
            end, used = time.time(), daemon.cpu_seconds() - used
            rss = daemon.rss_mib()
            if not ours.is_ready(admin):
                raise Failed(f"the daemon lost its sites; {daemon.log_tail()}")
    result = _result(log, begin, end, used, rss, sum(map(len, origins)))
    tell(
        f"probes: {result.origins} origins: {result.cpu_share:.0%} of a core, {result.late} late, "
        f"worst interval {result.worst_interval_ms:.0f} ms, {result.rss_mib:.0f} MiB"
    )
    return result


def _addresses(shape):
    """For each service its origins, as many at each site; each an address of its own."""
    per_service = shape.origins_per_site * len(SITES)

    def address(number):
        return f"127.{1 + number // 65536}.{number // 256 % 256}.{number % 256}"

    return [[address(256 + service * per_service + n) for n in range(per_service)] for service in range(shape.services)]


def _origin(scene, port, log, folder):
    user = "user root;\n" if os.geteuid() == 0 else ""
    config = scene.write(f"""\
{user}daemon off;
worker_processes 1;
pid {folder}/origin.pid;
events {{ worker_connections 50000; }}
http {{
  log_format asked '$msec $server_addr';
  access_log {log} asked buffer=64k flush=1s;
  keepalive_requests 1000000;
  server {{ listen 0.0.0.0:{port} backlog=65535; location / {{ return 200 "well"; }} }}
}}
""", "probes", "origin.conf")
    command = [programs.path("nginx"), "-c", config, "-p", folder, "-e", "stderr"]
    return Process("probed", command, scene.cores.clients, folder)


def _config(folder, shape, origins, port, admin):
    parts = [f'state_dir = "{folder}/state"\n[listen]\nadmin = "127.0.0.1:{admin}"\n']
    parts += [f'[site.{site}]\nfront_door = ["192.0.2.{number}"]\n' for number, site in enumerate(SITES, 1)]
    groups = range((shape.services + SERVICES_PER_GROUP - 1) // SERVICES_PER_GROUP)
    parts += [f"[group.g{number}]\nsites = {list(SITES)}\nstateless = true\n" for number in groups]
    for number, addresses in enumerate(origins):
        listed = [
            f"origins.{site} = ["
            + ", ".join(
                f'{{ url = "http://{address}:{port}" }}'
                for address in addresses[at * shape.origins_per_site : (at + 1) * shape.origins_per_site]
            )
            + "]\n"
            for at, site in enumerate(SITES)
        ]
        parts.append(
            f'[service.s{number}]\ngroup = "g{number // SERVICES_PER_GROUP}"\nhosts = ["s{number}.example.test"]\n'
            f'check = {{ path = "/health", interval = "{INTERVAL:g}s" }}\n' + "".join(listed)
        )
    return "".join(parts)


def _result(log, begin, end, used, rss, origins):
    asked = collections.defaultdict(list)
    with open(log, encoding="ascii") as lines:
        for line in lines:
            at, _, address = line.partition(" ")
            asked[address].append(float(at))
    late, worst, checks = 0, 0.0, 0
    for times in asked.values():
        times.sort()  # nginx writes them down when it has answered
        times = [at for at in times if begin <= at <= end]
        checks += len(times)
        gaps = [after - before for before, after in zip(times, times[1:])]
        late += sum(1 for gap in gaps if gap > 1.5 * INTERVAL)
        worst = max([worst, *gaps])
    if len(asked) != origins:
        raise Failed(f"{len(asked)} of {origins} origins were ever checked")
    seconds = end - begin
    return Result(origins, checks / seconds, used / seconds, late, worst * 1000, rss)
