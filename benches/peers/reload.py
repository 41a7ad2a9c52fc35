"""Whether a reload costs clients anything: the same load with and without reloads.

HTTP, DNS and tunnels together ask for a quarter of what the daemon can do on its core. Requests and questions leave at a
fixed rate, so a daemon that stands still cannot hide it. Tunnels echo a byte now and then, and must stay open throughout.
"""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import threading
import time
import urllib.request

import gap
import load
import ours
import scene as scenes
from processes import Failed, Process

TUNNELS = 50
TUNNEL_HOST = "tunnels.example.test"
ECHO_SECONDS = 0.1
PATIENCE_SECONDS = 5
# Of the whole core: what HTTP and what DNS are given.
SHARE = 1 / 8


@dataclasses.dataclass(frozen=True)
class Shape:
    """So many reloads, spread evenly over so many seconds."""

    reloads: int = 20
    seconds: int = 20
    capacity_seconds: int = 3


@dataclasses.dataclass
class Result:
    """One run, with or without reloads."""

    reloads: int
    requests: int
    failed: int
    """Requests without a 2xx."""
    worst_request_ms: float
    questions: int
    unanswered: int
    worst_question_ms: float
    tunnels: int
    echoes: int
    dropped: int
    """Tunnels that ended, or did not echo in time."""


def measure(scene, shape, tell):
    """The control run and the one with reloads, on one daemon: (results, requests and questions a second)."""
    with contextlib.ExitStack() as stack:
        daemon = _Daemon(stack, scene)
        rates = _rates(scene, daemon, shape)
        results = []
        for reloads in (0, shape.reloads):
            result = _run(scene, daemon, shape, reloads, rates)
            tell(
                f"reload: {reloads} reloads: {result.failed} of {result.requests} requests failed, "
                f"{result.unanswered} of {result.questions} questions unanswered, {result.dropped} tunnels dropped"
            )
            results.append(result)
        return results, rates


class _Daemon:
    """Ours, with an echoing origin, and a configuration to edit."""

    def __init__(self, stack, scene):
        self.scene = scene
        self.ports = {key: scene.ports.take() for key in ("http", "dns", "admin", "spare")}
        self.folder = os.path.normpath(scene.path("reload", ""))
        echo = scene.ports.take()
        gap.start_origin(stack, scene, self.folder, "127.0.0.1", echo, "echo")
        self._echo = f"127.0.0.1:{echo}"
        self.write(0)
        command = ours.command(scene, os.path.join(self.folder, "tidegate.toml"))
        self.process = stack.enter_context(Process("tidegate-reload", command, scene.cores.server, self.folder))
        self.process.wait_until(lambda: ours.is_ready(self.ports["admin"]))
        self.process.wait_until(lambda: scenes.answers_http(self.ports["http"]))

    def write(self, number):
        """The configuration of this turn: another zone each time, and every second time one listener and one origin more."""
        zone = self.scene.write(self.scene.zone("") + f"turn IN TXT \"{number}\"\n", "reload", "example.test.zone")
        listen = {key: self.ports[key] for key in ("http", "dns", "admin")}
        first, dr, added = (f"{address}:{self.scene.origin_port}" for address in scenes.ADDRESSES)
        mains = [first, added] if number % 2 else [first]
        text = ours.config(self.scene, self.folder, listen, mains, dr, certificates=False, zone=zone)
        if number % 2:
            http = f"127.0.0.1:{self.ports['http']}"
            text = text.replace(f'["{http}"]', f'["{http}", "127.0.0.1:{self.ports["spare"]}"]', 1)
        service = f"""
[service.tunnels]
group = "web"
critical = false
hosts = ["{TUNNEL_HOST}"]
{ours.CHECK}
origins.main = [{{ url = "http://{self._echo}" }}]
"""
        self.scene.write(text + service, "reload", "tidegate.toml")

    def reload(self, number):
        """Waits until the daemon says that it was taken."""
        before = self._generation()
        self.write(number)
        self.process.send(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._generation() <= before:
            if time.monotonic() > deadline:
                raise Failed(f"a reload was not taken; {self.process.log_tail()}")
            time.sleep(0.01)
        if self._metric("tidegate_config_last_reload_successful") != 1:
            raise Failed(f"a reload was refused; {self.process.log_tail()}")

    def _generation(self):
        return self._metric("tidegate_world_generation")

    def _metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/metrics", timeout=PATIENCE_SECONDS) as answer:
            return float(re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE).group(1))


def _rates(scene, daemon, shape):
    """Requests and questions a second that are a share of what the daemon can do of each alone."""
    clients = scene.cores.clients
    url = f"http://127.0.0.1:{daemon.ports['http']}/"
    http = load.http1(daemon.process, url, shape.capacity_seconds, clients)
    dns = load.dns(daemon.process, daemon.ports["dns"], scene.questions["steered"], shape.capacity_seconds, clients)
    return int(http.per_second * SHARE), int(dns.per_second * SHARE)


def _run(scene, daemon, shape, reloads, rates):
    tunnels = _Tunnels(daemon.ports["http"])
    requests = load.open_http1(daemon.ports["http"], rates[0], shape.seconds, scene.cores.clients)
    questions = load.open_dns(
        daemon.ports["dns"], scene.questions["steered"], rates[1], shape.seconds, scene.cores.clients
    )
    start = time.monotonic()
    for number in range(1, reloads + 1):
        time.sleep(max(0.0, start + number * shape.seconds / (reloads + 1) - time.monotonic()))
        daemon.reload(number)
    request, question = requests.result(), questions.result()
    echoes, dropped = tunnels.end()
    return Result(reloads, *request, *question, TUNNELS, echoes, dropped)


class _Tunnels:
    """Upgraded connections that echo, from a thread of their own."""

    def __init__(self, port):
        self._sockets = [_tunnel(port) for _ in range(TUNNELS)]
        self._stop, self._echoes, self._dropped = threading.Event(), 0, 0
        self._thread = threading.Thread(target=self._echo, daemon=True)
        self._thread.start()

    def end(self):
        self._stop.set()
        self._thread.join()
        for tunnel in self._sockets:
            tunnel.close()
        return self._echoes, self._dropped

    def _echo(self):
        while not self._stop.wait(ECHO_SECONDS):
            for tunnel in list(self._sockets):
                try:
                    tunnel.sendall(b"e")
                    is_open = tunnel.recv(1) == b"e"
                except OSError:
                    is_open = False
                if is_open:
                    self._echoes += 1
                else:
                    self._dropped += 1
                    self._sockets.remove(tunnel)


def _tunnel(port):
    stream = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    request = f"GET / HTTP/1.1\r\nHost: {TUNNEL_HOST}\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
    stream.sendall(request.encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := stream.recv(1)):
            break
        head += byte
    if not head.startswith(b"HTTP/1.1 101 "):
        raise Failed(f"no tunnel, but {head!r}")
    return stream

