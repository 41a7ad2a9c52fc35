"""What every server of a run shares: a folder, ports, a zone, a certificate, and origins that are never the bottleneck."""

import contextlib
import os
import socket
import struct
import subprocess

import programs
from load import HOST
from processes import ADDRESSES, Failed, Ports, Process

STATIC_NAMES = 1000
ZONE_HEAD = """\
$ORIGIN example.test.
$TTL 60
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
@ IN NS ns2
ns1 IN A 192.0.2.1
ns2 IN A 192.0.2.2
"""
# The steered name, for servers that cannot steer.
PLAIN_WWW = "www 30 IN A 127.0.0.1\n"
TINY_BODY = b"hello world, this is the origin\n"
LARGE_BODY_BYTES = 16 * 1024


class Scene:
    """Made once for a run. Servers are started in it with `start`, and end with it."""

    def __init__(self, folder, cores, binary):
        self.folder, self.cores, self.binary = folder, cores, binary
        self.ports = Ports()
        self.origin_port = self.ports.take()
        self._servers = contextlib.ExitStack()
        os.chmod(folder, 0o755)  # nginx started by root reads it as another user
        self.certificate, self.key = self._make_certificate()
        self.questions = {"static": self._make_questions("static"), "steered": self._make_questions("steered")}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._servers.close()

    def path(self, *parts):
        """A path in the scene's folder whose folder exists."""
        path = os.path.join(self.folder, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, text, *parts):
        path = self.path(*parts)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def zone(self, www):
        """The zone's text: a thousand static names, and `www` as the server at hand writes it."""
        hosts = (f"h{number} IN A 192.0.2.{number % 250 + 1}\n" for number in range(1, STATIC_NAMES + 1))
        return ZONE_HEAD + www + "".join(hosts)

    def start(self, name, command, is_ready):
        """A server under test, until the scene ends."""
        process = self._servers.enter_context(Process(name, command, self.cores.server, self.folder))
        process.wait_until(is_ready)
        return process

    def start_origin(self):
        """The origin of the load: nginx at each of the addresses, on the clients' cores."""
        self.write("x" * LARGE_BODY_BYTES, "origin", "16k")
        listens = "".join(f"listen {address}:{self.origin_port}; " for address in ADDRESSES)
        body = TINY_BODY.decode().replace("\n", "\\n")
        config = self.nginx(f"""\
  server {{
    {listens}
    root {self.path("origin", "")};
    location = /16k {{ }}
    location / {{ return 200 "{body}"; }}
  }}
""", "origin")
        command = [programs.path("nginx"), "-c", config, "-p", self.folder, "-e", "stderr"]
        process = self._servers.enter_context(Process("origin", command, self.cores.clients, self.folder))
        process.wait_until(lambda: answers_http(self.origin_port))

    def nginx(self, servers, name):
        """A configuration of nginx around `servers`, with nothing outside the scene's folder."""
        user = "user root;\n" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"  {kind}_temp_path {self.path(name, kind)};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return self.write(f"""\
{user}daemon off;
worker_processes 1;
pid {self.path(f"{name}.pid")};
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000;
{temporary}{servers}}}
""", f"{name}.nginx.conf")

    def _make_certificate(self):
        certificate, key = self.path("certificate.pem"), self.path("key.pem")
        command = [
            programs.path("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
            "-keyout", key, "-out", certificate,
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.returncode != 0:
            raise Failed(f"openssl made no certificate: {said.stderr}")
        return certificate, key

    def _make_questions(self, kind):
        names = [HOST] if kind == "steered" else [f"h{n}.example.test" for n in range(1, STATIC_NAMES + 1)]
        return self.write("".join(f"{name} A\n" for name in names), f"{kind}.questions")


def connects(address, port):
    """Whether a server listens there."""
    with socket.create_connection((address, port), timeout=1):
        return True


def answers_dns(port, name=HOST):
    """Whether a server answers a question for A records with NOERROR and at least one of them."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">6H", 0x7469, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect(("127.0.0.1", port))
        client.send(question)
        answer = client.recv(1500)
    ident, flags, _, answers = struct.unpack(">4H", answer[:8])
    return ident == 0x7469 and flags & 0x000F == 0 and answers > 0


def answers_http(port, path="/", want=TINY_BODY):
    """Whether a server answers a plain GET with 200 and this body."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return answer.startswith(b"HTTP/1.1 200") and answer.endswith(want)
