"""Starlette, by starlette_exporter as its guide has it."""
import shop

shop.about("starlette_exporter", "starlette")

from starlette_exporter import PrometheusMiddleware, handle_metrics

shop.starlette(PrometheusMiddleware, handle_metrics)
