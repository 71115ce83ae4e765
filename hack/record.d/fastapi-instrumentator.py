"""FastAPI, by prometheus-fastapi-instrumentator as its guide has it."""
import shop

shop.about("prometheus-fastapi-instrumentator", "fastapi")

from fastapi import FastAPI, Response
from prometheus_fastapi_instrumentator import Instrumentator


def answer_of(path):
    return lambda: Response(status_code=shop.answer(path))


app = FastAPI()
for path in shop.PATHS:
    app.get(path)(answer_of(path))
Instrumentator().instrument(app).expose(app)
shop.run(app)
