"""What is asked of which servers."""

import functools
import socket
import ssl

import dns_servers
import http_servers
import load
from load import HOST
from processes import Failed
from rounds import Workload
from scene import LARGE_BODY_BYTES, answers_dns, answers_http


def start(scene, parts):
    """Starts the servers that these parts need and checks that they answer right. The workloads."""
    if not {"dns", "http"} & set(parts):
        return []
    http_ports = {"http": scene.ports.take(), "https": scene.ports.take()}
    dns = dns_servers.start(scene, http_ports)
    http = {"tidegate": (dns["tidegate"][0], http_ports), **http_servers.start(scene)}
    for name, (process, port) in dns.items():
        if not all(answers_dns(port, question) for question in (HOST, "h1.example.test", "h1000.example.test")):
            raise Failed(f"{name} answers wrongly; {process.log_tail()}")
    for name, (process, ports) in http.items():
        large = b"x" * LARGE_BODY_BYTES
        if not (answers_http(ports["http"]) and answers_http(ports["http"], "/16k", large)):
            raise Failed(f"{name} answers wrongly; {process.log_tail()}")
    return (_dns(scene, dns) if "dns" in parts else []) + (_http(scene, http) if "http" in parts else [])


def _dns(scene, servers):
    def measure(kind, server, seconds):
        process, port = servers[server]
        return load.dns(process, port, scene.questions[kind], seconds, scene.cores.clients)

    return [
        Workload(f"dns {kind}", what, list(servers), functools.partial(measure, kind))
        for kind, what in (("static", "A of 1,000 static names"), ("steered", "A of the steered name"))
    ]


def _http(scene, servers):
    clients = scene.cores.clients

    def http1(scheme, path, server, seconds):
        process, ports = servers[server]
        return load.http1(process, f"{scheme}://127.0.0.1:{ports[scheme]}{path}", seconds, clients)

    def http2(path, server, seconds):
        process, ports = servers[server]
        return load.http2(process, ports["https"], path, seconds, clients)

    # The last of each line is what a server must choose by ALPN (RFC 7301) to be asked this; none without TLS.
    listed = (
        ("http tiny", "HTTP/1.1, 32 byte body", functools.partial(http1, "http", "/"), None),
        ("http 16k", "HTTP/1.1, 16 KiB body", functools.partial(http1, "http", "/16k"), None),
        ("http tls", "HTTP/1.1 over TLS, 32 byte body", functools.partial(http1, "https", "/"), "http/1.1"),
        ("http tls 16k", "HTTP/1.1 over TLS, 16 KiB body", functools.partial(http1, "https", "/16k"), "http/1.1"),
        ("http h2", "HTTP/2 over TLS, 32 byte body", functools.partial(http2, "/"), "h2"),
    )
    for _, what, _, protocol in listed:
        for server, (process, ports) in servers.items():
            if protocol and not _negotiates(ports["https"], protocol):
                raise Failed(f"{what}: {server} does not speak {protocol} over TLS; {process.log_tail()}")
    return [Workload(name, what, list(servers), measure) for name, what, measure, _ in listed]


def _negotiates(port, protocol):
    """Whether a server chooses this protocol by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as plain:
            with context.wrap_socket(plain, server_hostname=HOST) as client:
                return client.selected_alpn_protocol() == protocol
    except OSError:
        return False
