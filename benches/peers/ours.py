"""Tidegate, configured as the people it is for would: two sites, one group, checks, one zone with a steered name."""

import scene as scenes
from load import HOST

CHECK = (
    'check = { path = "/health", interval = "1s", fast_interval = "250ms", timeout = "500ms", fall = 2, rise = 2 }'
)


def config(scene, folder, listen, mains, dr, spill="safe", certificates=True, zone=None):
    """The text of a configuration. `listen` maps the keys of `[listen]` to ports; origins are addresses with ports."""
    listens = "".join(
        f'{key} = "127.0.0.1:{port}"\n' if key == "admin" else f'{key} = ["127.0.0.1:{port}"]\n'
        for key, port in listen.items()
    )
    pair = f'certificates = [{{ cert = "{scene.certificate}", key = "{scene.key}" }}]\n' if certificates else ""
    origins = ", ".join(f'{{ url = "http://{main}" }}' for main in mains)
    steered = f"""\
[zone."example.test"]
file = "{zone}"
steer.www = {{ group = "web", ttl = "30s" }}
""" if zone else ""
    return f"""\
state_dir = "{folder}/state"
{pair}
[listen]
{listens}
[site.main]
front_door = ["127.0.0.1"]
[site.dr]
front_door = ["127.0.0.2"]

[group.web]
sites = ["main", "dr"]
stateless = true
failover_after = "1s"

[service.web]
group = "web"
hosts = ["{HOST}"]
spill = "{spill}"
{CHECK}
timeouts = {{ connect = "500ms", response = "2s" }}
origins.main = [{origins}]
origins.dr = [{{ url = "http://{dr}" }}]

{steered}"""


def command(scene, config_path):
    return [scene.binary, "run", "--config", config_path]


def is_ready(admin):
    """Whether the daemon has decided, and so serves."""
    return scenes.answers_http(admin, "/readyz", b"")
