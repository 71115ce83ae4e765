"""TorchServe with a model that is a few lines of Python. It is started and asked from here, and its page is printed."""
import shop

shop.about("torchserve")

import json
import os
import signal
import subprocess
import sys
import tempfile
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from zipfile import ZipFile

MANIFEST = {"model": {"modelName": "ranker", "handler": "handler.py", "modelVersion": "1.0"}, "archiverVersion": "0.12.0"}
HANDLER = f"""
import time

def handle(data, context):
    if data is None:
        return None
    for row in data:
        how = row.get("body")
        if how == "slow":
            time.sleep({shop.SLOW_SECONDS})
        if how == "broken":
            raise RuntimeError("broken, as it was asked to be")
    return ["yes"] * len(data)
"""
# The worker loads PyTorch and asks it for tensors and devices. The model has none.
TORCH = """
class Tensor:
    pass

class cuda:
    is_available = staticmethod(lambda: False)
"""
INFERENCE, MANAGEMENT, METRICS, GRPC, GRPC_MANAGEMENT = range(shop.PORT, shop.PORT + 5)
SETTINGS = f"""
inference_address=http://127.0.0.1:{INFERENCE}
management_address=http://127.0.0.1:{MANAGEMENT}
metrics_address=http://127.0.0.1:{METRICS}
grpc_inference_port={GRPC}
grpc_management_port={GRPC_MANAGEMENT}
load_models=ranker.mar
default_workers_per_model=1
metrics_mode=prometheus
disable_system_metrics=true
"""


def read(port, path, data=None):
    try:
        request = Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "text/plain"})
        return urlopen(request, timeout=20).read().decode()
    except HTTPError as error:
        return error.read().decode()


with tempfile.TemporaryDirectory() as folder:

    def write(name, text):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)

    write("torch.py", TORCH)
    write("config.properties", SETTINGS)
    with ZipFile(os.path.join(folder, "ranker.mar"), "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(MANIFEST))
        archive.writestr("handler.py", HANDLER)
    beside = os.path.dirname(sys.executable)
    places = {"PYTHONPATH": folder, "LOG_LOCATION": folder, "METRICS_LOCATION": folder, "TEMP": folder, "HOME": folder}
    env = os.environ | places | {"PATH": f"{beside}:{os.environ['PATH']}"}
    options = ["--foreground", "--disable-token-auth", "--no-config-snapshots"]
    where = ["--model-store", folder, "--ts-config", os.path.join(folder, "config.properties")]
    command = [os.path.join(beside, "torchserve"), *options, *where]
    # With its frontend and its workers it is a group of processes.
    server = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        # It is not asked whether it is ready, for that would be counted.
        assert any("-> WORKER_MODEL_LOADED" in line for line in server.stdout), "the server does not start"
        Thread(target=sys.stderr.writelines, args=[server.stdout], daemon=True).start()
        for how, times in {b"quick": 24, b"slow": 4, b"broken": 5}.items():
            for _ in range(times):
                read(INFERENCE, "/predictions/ranker", how)
        for _ in range(2):
            read(INFERENCE, "/predictions/nobody", b"quick")
        for _ in range(6):
            read(INFERENCE, "/ping")
        print(read(METRICS, "/metrics"), end="")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
