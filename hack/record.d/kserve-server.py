"""KServe's model server with a model of ours. It is started and asked from here, and its page is printed."""
import shop

shop.about("kserve")

import subprocess
import sys
from time import monotonic, sleep
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

URL = f"http://127.0.0.1:{shop.PORT}"


def serve():
    from kserve import Model, ModelServer

    class Ranker(Model):
        def __init__(self):
            super().__init__("ranker")
            self.ready = True

        def predict(self, payload, headers=None, response_headers=None):
            shop.answer(payload["instances"][0])
            return {"predictions": [1]}

    ModelServer(http_port=shop.PORT, enable_grpc=False, workers=1).start([Ranker()])


def ask(model, path):
    body = f'{{"instances": ["{path}"]}}'.encode()
    try:
        urlopen(Request(f"{URL}/v1/models/{model}:predict", body, {"content-type": "application/json"}), timeout=20).read()
    except HTTPError as error:
        error.read()


def read(path):
    return urlopen(URL + path, timeout=20).read().decode()


def is_up():
    try:
        return bool(read("/v2/health/ready"))
    except URLError:
        return False


if sys.argv[1:] == ["serve"]:
    serve()
else:
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=sys.stderr)
    try:
        end = monotonic() + 120
        while not is_up():
            assert monotonic() < end, "the server does not start"
            sleep(0.5)
        for path, times in {"/pay": 24, "/slow": 4, "/broken": 5}.items():
            for _ in range(times):
                ask("ranker", path)
        for _ in range(2):
            ask("nobody", "/pay")
        print(read("/metrics"), end="")
    finally:
        server.terminate()
        server.wait()
