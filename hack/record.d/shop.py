"""What the Python servers of this folder share: the routes they answer, as an ASGI application's handlers or plain ones."""
import os
import sys
from importlib.metadata import version
from time import sleep

PORT = int(os.environ.get("PORT", "0"))
SLOW_SECONDS = 0.4


def about(*packages, more=""):
    """With the argument `about`, a program says only what it is."""
    if sys.argv[1:] == ["about"]:
        print(" with ".join(f"{package} {version(package)}" for package in packages) + more)
        sys.exit()


def answer(path):
    """Status and text; `/broken` has no answer."""
    if path == "/broken":
        raise RuntimeError("broken, as it was asked to be")
    if path == "/slow":
        sleep(SLOW_SECONDS)
    return {"/pay": 200, "/slow": 200, "/fail": 500, "/healthz": 503}[path]


PATHS = ["/pay", "/slow", "/fail", "/broken", "/healthz"]


def in_background(app):
    """Serves an ASGI application at PORT while the program does other things."""
    from threading import Thread
    from time import sleep

    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=PORT, log_level="critical"))
    Thread(target=server.run, daemon=True).start()
    while not server.started:
        sleep(0.1)


def ask(path, times=1, data=None):
    """Asks so often, whatever is answered; with data it is a POST. Returns the last answer."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    for _ in range(times):
        try:
            text = urlopen(f"http://127.0.0.1:{PORT}{path}", data, timeout=20).read().decode()
        except HTTPError as error:
            text = error.read().decode()
    return text
