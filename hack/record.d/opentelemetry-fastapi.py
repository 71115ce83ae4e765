"""FastAPI, by OpenTelemetry's instrumentation and its exporter for Prometheus; the environment says which convention."""
import os

import shop

OPT_IN = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "")
shop.about(
    "opentelemetry-instrumentation-fastapi",
    "opentelemetry-exporter-prometheus",
    more=f", OTEL_SEMCONV_STABILITY_OPT_IN={OPT_IN or '(unset)'}",
)

from fastapi import FastAPI, Response
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import make_asgi_app


def answer_of(path):
    return lambda: Response(status_code=shop.answer(path))


set_meter_provider(MeterProvider(metric_readers=[PrometheusMetricReader()]))
app = FastAPI()
for path in shop.PATHS:
    app.get(path)(answer_of(path))
app.mount("/metrics", make_asgi_app())
FastAPIInstrumentor.instrument_app(app)
shop.run(app)
