"""LiteLLM's proxy before a model that is a program of ours. It is asked from here, and its page is printed."""
import shop

shop.about("litellm")

import json
import os
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import monotonic, sleep
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

KEY = "sk-of-nobody"
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
COSTS = {"input_cost_per_token": 0.01, "output_cost_per_token": 0.02}


class Model(BaseHTTPRequestHandler):
    """It answers 500 when it is told to fail, and takes its time when it is told to be slow."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        how = asked["messages"][0]["content"]
        if how == "slow":
            sleep(shop.SLOW_SECONDS)
        self.send_response(500 if how == "fail" else 200)
        self.send_header("content-type", "text/event-stream" if asked.get("stream") else "application/json")
        self.end_headers()
        self.wfile.write(self.stream() if asked.get("stream") else self.whole())

    def whole(self):
        message = {"role": "assistant", "content": "yes"}
        return json.dumps(self.chunk("message", message, "chat.completion") | {"usage": USAGE}).encode()

    def stream(self):
        first = self.chunk("delta", {"role": "assistant", "content": "yes"}, "chat.completion.chunk")
        last = self.chunk("delta", {}, "chat.completion.chunk") | {"usage": USAGE}
        first["choices"][0]["finish_reason"] = None
        return b"".join(b"data: %s\n\n" % data for data in [json.dumps(first).encode(), json.dumps(last).encode(), b"[DONE]"])

    def chunk(self, part, message, kind):
        choices = [{"index": 0, part: message, "finish_reason": "stop"}]
        return {"id": "1", "object": kind, "created": 1, "model": "llama", "choices": choices}

    def log_message(self, *_):
        pass


model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
Thread(target=model.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{shop.PORT}"


def ask(name, how, **more):
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": how}]} | more).encode()
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    try:
        urlopen(Request(f"{URL}/chat/completions", body, headers), timeout=20).read()
    except HTTPError as error:
        error.read()


def read(path):
    return urlopen(Request(URL + path, headers={"authorization": f"Bearer {KEY}"}), timeout=20).read().decode()


def is_up():
    try:
        return bool(read("/health/liveliness"))
    except URLError:
        return False


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "config.json")
    params = {"model": "openai/llama", "api_key": "none", "api_base": f"http://127.0.0.1:{model.server_port}/v1"} | COSTS
    config = {
        "model_list": [{"model_name": "llama", "litellm_params": params}],
        "litellm_settings": {"callbacks": ["prometheus"], "num_retries": 0},
        "router_settings": {"disable_cooldowns": True, "num_retries": 0},
        "general_settings": {"master_key": KEY},
    }
    with open(path, "w") as file:
        json.dump(config, file)
    program = os.path.join(os.path.dirname(sys.executable), "litellm")
    arguments = ["--config", path, "--host", "127.0.0.1", "--port", str(shop.PORT), "--telemetry", "False"]
    # What models cost is not asked elsewhere, and nothing is written outside.
    env = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": folder}
    proxy = subprocess.Popen([program, *arguments], env=env, stdout=sys.stderr)
    try:
        end = monotonic() + 120
        while not is_up():
            assert monotonic() < end, "the proxy does not start"
            sleep(0.5)
        # They come first, for the first one takes longer, and what fails is not in the histogram.
        for _ in range(5):
            ask("llama", "fail")
        for _ in range(20):
            ask("llama", "quick")
        for how, times in {"quick": 4, "slow": 4}.items():
            for _ in range(times):
                ask("llama", how, stream=True)
        for _ in range(2):
            ask("nobody", "quick")
        # It counts behind its answers.
        sleep(5)
        print(read("/metrics/"), end="")
    finally:
        proxy.terminate()
        proxy.wait()
