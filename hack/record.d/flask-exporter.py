"""Flask, by prometheus_flask_exporter as its guide has it."""
import shop

shop.about("prometheus_flask_exporter", "Flask")

import logging

from flask import Flask, request
from prometheus_flask_exporter import PrometheusMetrics

logging.disable()
app = Flask(__name__)
PrometheusMetrics(app)
for path in shop.PATHS:
    app.add_url_rule(path, path, lambda: ("", shop.answer(request.path)))
app.run(host="127.0.0.1", port=shop.PORT)
