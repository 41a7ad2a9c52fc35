"""The DNS servers that are compared: ours, gdnsd, NSD and Knot, each with one thread, serving the same zone.

gdnsd steers `www` by checks, as ours does. NSD and Knot cannot: there it is a plain record.
"""

import os

import ours
import programs
import scene as scenes


def start(scene, http_ports):
    """All of them, ready: name to (process, port). Ours is the one that serves HTTP on `http_ports`, too."""
    started = {}
    for name, make in (("tidegate", None), ("gdnsd", _gdnsd), ("nsd", _nsd), ("knot", _knot)):
        port = scene.ports.take()
        if name == "tidegate":
            started[name] = (_ours(scene, port, http_ports), port)
            continue
        started[name] = (scene.start(name, make(scene, port), lambda p=port: scenes.answers_dns(p)), port)
    return started


def _ours(scene, port, http_ports):
    admin, folder = scene.ports.take(), scene.path("tidegate", "")
    zone = scene.write(scene.zone(""), "tidegate", "example.test.zone")
    listen = {"http": http_ports["http"], "https": http_ports["https"], "dns": port, "admin": admin}
    mains, dr = [f"127.0.0.1:{scene.origin_port}"], f"127.0.0.2:{scene.origin_port}"
    text = ours.config(scene, os.path.normpath(folder), listen, mains, dr, zone=zone)
    path = scene.write(text, "tidegate", "tidegate.toml")
    process = scene.start("tidegate", ours.command(scene, path), lambda: ours.is_ready(admin))
    process.wait_until(lambda: scenes.answers_dns(port))
    return process


def _gdnsd(scene, port):
    for needed in ("run", "state", "zones"):
        os.makedirs(scene.path("gdnsd", needed), exist_ok=True)
    scene.write(scene.zone("www 30/15 DYNA multifo!web\n"), "gdnsd", "zones", "example.test")
    scene.write(f"""\
options => {{
  listen => 127.0.0.1, dns_port => {port}, udp_threads => 1, tcp_threads => 1, zones_default_ttl => 60
  run_dir => {scene.path("gdnsd", "run")}, state_dir => {scene.path("gdnsd", "state")}
}}
service_types => {{ web => {{
  plugin => http_status, port => {scene.origin_port}, url_path => /health
  up_thresh => 2, down_thresh => 2, ok_thresh => 2, interval => 2, timeout => 1
}} }}
plugins => {{ multifo => {{ web => {{ service_types => web, main => 127.0.0.1, dr => 127.0.0.2 }} }} }}
""", "gdnsd", "config")
    return [programs.path("gdnsd"), "-c", os.path.normpath(scene.path("gdnsd", "")), "start"]


def _nsd(scene, port):
    scene.write(scene.zone(scenes.PLAIN_WWW), "nsd", "example.test.zone")
    folder = os.path.normpath(scene.path("nsd", ""))
    config = scene.write(f"""\
server:
  server-count: 1
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  database: ""
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: example.test
  zonefile: example.test.zone
""", "nsd", "nsd.conf")
    return [programs.path("nsd"), "-d", "-c", config]


def _knot(scene, port):
    scene.write(scene.zone(scenes.PLAIN_WWW), "knot", "example.test.zone")
    folder = os.path.normpath(scene.path("knot", ""))
    config = scene.write(f"""\
server:
  rundir: "{folder}"
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: "{folder}/db"
template:
  - id: default
    storage: "{folder}"
    file: "%s.zone"
    semantic-checks: off
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: example.test
""", "knot", "knot.conf")
    return [programs.path("knotd"), "-c", config]
