"""Starlette, by starlette-prometheus as its guide has it."""
import shop

shop.about("starlette-prometheus", "starlette")

from starlette_prometheus import PrometheusMiddleware, metrics

shop.starlette(PrometheusMiddleware, metrics)
