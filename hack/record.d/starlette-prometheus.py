"""Starlette, by starlette-prometheus as its guide has it."""
import shop

shop.about("starlette-prometheus", "starlette")

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette_prometheus import PrometheusMiddleware, metrics


def answer_of(path):
    return lambda _: Response(status_code=shop.answer(path))


app = Starlette(routes=[Route(path, answer_of(path)) for path in shop.PATHS])
app.add_middleware(PrometheusMiddleware)
app.add_route("/metrics", metrics)
uvicorn.run(app, host="127.0.0.1", port=shop.PORT, log_level="critical")
