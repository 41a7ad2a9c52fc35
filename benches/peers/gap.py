"""What clients see when an origin of the main site fails, under an open-loop load.

Requests leave on a schedule, whatever became of those before, so a proxy that stands still cannot hide it. Each has an id,
which the origins write down when they execute it.
"""

import asyncio
import collections
import contextlib
import dataclasses
import gc
import os
import signal
import sys
import time

import http_servers
import ours
import programs
import scene as scenes
from load import HOST
from processes import Process

# What happens to the first main origin.
STRIKES = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP, "500": signal.SIGUSR1, "slow": signal.SIGUSR2}
SERVERS = ("tidegate", "haproxy")
# Longer than the slow origin takes.
PATIENCE_SECONDS = 5
# An answer that took longer shows that the failure is not over.
PROMPT_SECONDS = 0.1
# Both proxies have finished a round of checks by then.
SETTLE_SECONDS = 1.5


@dataclasses.dataclass(frozen=True)
class Scenario:
    """An origin fails; whether requests that may not be repeated move to the DR site at once is for ours to be told."""

    strike: str
    method: str
    mains: int
    spill: str = "safe"

    def __str__(self):
        return f"{self.strike}, {self.method}, {self.mains} main{'s' if self.mains > 1 else ''}, spill {self.spill}"


@dataclasses.dataclass(frozen=True)
class Shape:
    """An open loop: so many requests a second for so long, the strike after `strike_at` seconds."""

    rate: int = 500
    seconds: float = 9.0
    strike_at: float = 2.0


@dataclasses.dataclass
class Result:
    """Times are milliseconds, those of events from the strike on; None where nothing of the kind happened."""

    sent: int
    failed: int
    kinds: dict
    """Failures by status or error."""
    executed_twice: int
    worst_ms: float
    p99_ms: float
    p50_before_ms: float
    first_dr_ms: float | None
    """The first answer from the DR site."""
    recovered_ms: float
    """When the last request began that failed or took long; 0 if none did."""


SCENARIOS = [
    Scenario(strike, method, mains, spill)
    for strike, method, spill in (
        ("killed", "GET", "safe"),
        ("killed", "POST", "any"),
        ("stopped", "GET", "safe"),
        ("stopped", "POST", "any"),
        ("500", "GET", "safe"),
        ("slow", "GET", "safe"),
        ("slow", "POST", "any"),
    )
    for mains in (1, 2)
]


def measure(scene, server, scenario, shape):
    """One proxy through one scenario, both fresh."""
    with contextlib.ExitStack() as stack:
        folder = scene.path("gap", f"{time.monotonic_ns()}", "")
        ports = [scene.ports.take() for _ in range(scenario.mains)]
        main_origins = [start_origin(stack, scene, folder, "127.0.0.1", port, "main") for port in ports]
        start_origin(stack, scene, folder, "127.0.0.2", ports[0], "dr")
        mains = [f"127.0.0.1:{port}" for port in ports]
        port = _start_proxy(stack, scene, folder, server, scenario, mains, f"127.0.0.2:{ports[0]}")
        time.sleep(SETTLE_SECONDS)
        struck, rows = asyncio.run(_load(port, scenario.method, shape, main_origins[0], STRIKES[scenario.strike]))
        # A stopped origin may go on, and then executes what it was sent.
        main_origins[0].send(signal.SIGCONT)
        time.sleep(0.5)
        return _result(struck, rows, _executed_twice(folder))


def start_origin(stack, scene, folder, address, port, name):
    """An origin of origin.py that listens, until the stack ends. It writes down in the folder what it executes."""
    log = os.path.join(folder, f"executed-{address}-{port}")
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "origin.py")
    command = [sys.executable, program, address, str(port), name, log]
    process = stack.enter_context(Process(f"{name}-{port}", command, scene.cores.clients, folder))
    process.wait_until(lambda: scenes.connects(address, port))
    return process


def _start_proxy(stack, scene, folder, server, scenario, mains, dr):
    port = scene.ports.take()
    if server == "haproxy":
        config = scene.write(http_servers.haproxy_config([f"127.0.0.1:{port}"], mains, dr), folder, "haproxy.cfg")
        command, is_ready = http_servers.haproxy_command(config), lambda: scenes.answers_http(port, want=b"main")
    else:
        admin = scene.ports.take()
        listen = {"http": port, "admin": admin}
        text = ours.config(scene, folder.rstrip("/"), listen, mains, dr, scenario.spill, certificates=False)
        command = ours.command(scene, scene.write(text, folder, "tidegate.toml"))
        is_ready = lambda: ours.is_ready(admin)  # noqa: E731
    process = stack.enter_context(Process(server, command, scene.cores.server, folder))
    process.wait_until(is_ready)
    return port


async def _load(port, method, shape, origin, strike):
    """When the strike was, and for each request (begin, end, status or error, who answered)."""
    pool, rows, tasks = [], [], []
    body = b"x" * 20 if method == "POST" else b""
    length = f"Content-Length: {len(body)}\r\n" if body else ""

    async def fire(number):
        head = f"{method} / HTTP/1.1\r\nHost: {HOST}\r\nX-Gap-Id: {number}\r\n{length}\r\n"
        begin = time.monotonic()
        outcome = await _exchange(pool, port, head.encode() + body)
        rows.append((begin, time.monotonic(), *outcome))

    gc.collect()
    gc.disable()  # a pause of the client is not one of the proxy
    try:
        start, struck = time.monotonic(), None
        while (now := time.monotonic() - start) < shape.seconds:
            if struck is None and now >= shape.strike_at:
                struck = time.monotonic()
                origin.send(strike)
            while len(tasks) < now * shape.rate:
                tasks.append(asyncio.create_task(fire(len(tasks))))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
    finally:
        gc.enable()
    for _, writer in pool:
        writer.close()
    return struck, rows


async def _exchange(pool, port, request):
    """Status and body of one request, or the name of what went wrong. Kept connections are used again, as browsers do."""
    writer = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = pool.pop() if pool else await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 : head.index(b"\r\n", start)]) if start >= 0 else 0
            body = await reader.readexactly(length)
            if b"connection: close" in head:
                writer.close()
            else:
                pool.append((reader, writer))
            return int(head.split(b" ", 2)[1]), body.decode(errors="replace")
    except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
        if writer:
            writer.close()
        return type(error).__name__, ""


def _executed_twice(folder):
    counts = collections.Counter()
    for name in os.listdir(folder):
        if name.startswith("executed-"):
            with open(os.path.join(folder, name), encoding="ascii") as log:
                counts.update(log.read().split())
    return sum(1 for count in counts.values() if count > 1)


def _result(struck, rows, executed_twice):
    failed = [row for row in rows if row[2] != 200]
    after = sorted(end - begin for begin, end, *_ in rows if begin >= struck - PROMPT_SECONDS)
    before = sorted(end - begin for begin, end, *_ in rows if begin < struck - PROMPT_SECONDS)
    from_dr = [end for _, end, _, who in rows if who == "dr" and end > struck]
    bad = [begin for begin, end, status, _ in rows if status != 200 or end - begin > PROMPT_SECONDS]
    return Result(
        sent=len(rows),
        failed=len(failed),
        kinds=dict(collections.Counter(str(row[2]) for row in failed)),
        executed_twice=executed_twice,
        worst_ms=after[-1] * 1000,
        p99_ms=after[int(len(after) * 0.99)] * 1000,
        p50_before_ms=before[len(before) // 2] * 1000,
        first_dr_ms=(min(from_dr) - struck) * 1000 if from_dr else None,
        recovered_ms=max(0.0, (max(bad) - struck) * 1000) if bad else 0.0,
    )
