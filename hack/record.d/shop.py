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


def run(app):
    """Serves an ASGI application at PORT."""
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="critical")


def starlette(middleware, page):
    """Serves an application of Starlette that counts by this middleware and shows its page so."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    def answer_of(path):
        return lambda _: Response(status_code=answer(path))

    app = Starlette(routes=[Route(path, answer_of(path)) for path in PATHS])
    app.add_middleware(middleware)
    app.add_route("/metrics", page)
    run(app)


def complete(app, page):
    """Lets an application of FastAPI answer as a model server, asks it, and prints its page."""
    from fastapi import Response

    app.post("/v1/completions")(lambda how: Response(status_code=answer(how)))
    app.get("/health")(lambda: Response(status_code=503))
    in_background(app)
    for path, times in {"/pay": 24, "/slow": 4, "/fail": 3, "/broken": 2}.items():
        ask(f"/v1/completions?how={path}", times, b"")
    ask("/v1/completions", 2, b"")
    ask("/health", 6)
    ask(page, 3)
    print(ask(page), end="")


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
