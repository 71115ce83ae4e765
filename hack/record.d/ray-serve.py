"""Ray Serve on a node of its own. It is asked from here, and the page of the node's agent is printed."""
import shop

shop.about("ray")

import os
import tempfile
from socket import socket
from time import monotonic, sleep
from urllib.error import HTTPError
from urllib.request import urlopen

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_METRICS_REPORT_INTERVAL_MS": "1000"}

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


def free_port():
    with socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@serve.deployment(num_replicas=1)
class Ranker:
    def __call__(self, request: Request):
        return Response(status_code=shop.answer(request.url.path))


def ask(path):
    try:
        urlopen(f"http://127.0.0.1:{shop.PORT}{path}", timeout=20).read()
    except HTTPError as error:
        error.read()


def page():
    return urlopen(f"http://127.0.0.1:{exported}/metrics", timeout=20).read().decode()


exported = free_port()
with tempfile.TemporaryDirectory() as folder:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _metrics_export_port=exported,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
        object_store_memory=80_000_000,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": shop.PORT})
    serve.run(Ranker.bind(), name="shop", route_prefix="/")
    for path, times in {"/pay": 24, "/slow": 4, "/fail": 3, "/broken": 2}.items():
        for _ in range(times):
            ask(path)
    end = monotonic() + 60
    while "ray_serve_deployment_error_counter_total{" not in page():
        assert monotonic() < end, "the page has no errors"
        sleep(1)
    sleep(10)
    text = page()
    serve.shutdown()
    ray.shutdown()
print(text, end="")
