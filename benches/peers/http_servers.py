"""The proxies that are compared: ours, HAProxy and nginx, each with one thread, one main origin and a backup.

HAProxy is at its best settings: fast checks, passive observation, redispatch, retries also after answers. The limits on
the life of connections are out of the way of all of them, and none writes an access log.
"""

import programs
import scene as scenes

DEFAULTS = """\
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 500ms
  timeout client 10s
  timeout server 2s
  timeout check 500ms
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout 500
  option httpchk GET /health
  http-reuse always
  default-server inter 1s fastinter 250ms fall 2 rise 2 observe layer4 on-error mark-down error-limit 3 on-marked-down shutdown-sessions
"""


def start(scene):
    """HAProxy and nginx, ready: name to (process, ports), the ports by `http` and `https`."""
    started = {}
    for name, make in (("haproxy", _haproxy), ("nginx", _nginx)):
        ports = {"http": scene.ports.take(), "https": scene.ports.take()}
        started[name] = (scene.start(name, make(scene, ports), lambda p=ports: scenes.answers_http(p["http"])), ports)
    return started


def haproxy_config(binds, mains, dr):
    """`binds` are the arguments of `bind` lines; origins are addresses with ports."""
    listens = "".join(f"  bind {bind}\n" for bind in binds)
    servers = "".join(f"  server main{number} {main} check\n" for number, main in enumerate(mains, 1))
    return f"{DEFAULTS}frontend web\n{listens}  default_backend web\nbackend web\n{servers}  server dr {dr} check backup\n"


def haproxy_command(config):
    return [programs.path("haproxy"), "-db", "-f", config]


def _haproxy(scene, ports):
    pair = scene.path("haproxy", "pair.pem")
    with open(pair, "w", encoding="utf-8") as out:
        for part in (scene.certificate, scene.key):
            with open(part, encoding="utf-8") as source:
                out.write(source.read())
    binds = [
        f"127.0.0.1:{ports['http']}",
        f"127.0.0.1:{ports['https']} ssl crt {pair} alpn h2,http/1.1 ssl-min-ver TLSv1.2",
    ]
    mains, dr = [f"127.0.0.1:{scene.origin_port}"], f"127.0.0.2:{scene.origin_port}"
    return haproxy_command(scene.write(haproxy_config(binds, mains, dr), "haproxy", "haproxy.cfg"))


def _nginx(scene, ports):
    config = scene.nginx(f"""\
  upstream web {{
    server 127.0.0.1:{scene.origin_port} max_fails=2 fail_timeout=2s;
    server 127.0.0.2:{scene.origin_port} backup;
    keepalive 128;
  }}
  server {{
    listen 127.0.0.1:{ports["http"]};
    listen 127.0.0.1:{ports["https"]} ssl http2;
    ssl_certificate {scene.certificate};
    ssl_certificate_key {scene.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
    }}
  }}
""", "nginx")
    return [programs.path("nginx"), "-c", config, "-p", scene.folder, "-e", "stderr"]
