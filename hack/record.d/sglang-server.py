"""SGLang's counters, which are told of requests by this program, and those of its HTTP server, which is asked."""
import shop

shop.about("sglang")

import stand_in

stand_in.load(
    real=["sglang.srt.utils.gauge_histogram", "sglang.srt.utils.http_middleware_patch"]
    + [
        f"sglang.srt.observability.{name}"
        for name in ["http_request_metrics", "metrics_collector", "scheduler_stage_metrics", "utils"]
    ],
    absent=["torch"],
)

from fastapi import FastAPI
from prometheus_client import make_asgi_app
from sglang.srt.observability import http_request_metrics, metrics_collector
from sglang.srt.observability.metrics_collector import SchedulerMetricsCollector, TokenizerMetricsCollector

TOKENS = 20
LABELS = {"model_name": "llama", "engine_type": "unified"}


class Settings(stand_in.Nothing):
    """All that the counters ask of the scheduler's settings."""

    prefill_delayer_max_delay_passes = 30


def request(seconds):
    """A request that waits so long, has its first token as long after, and others in this distance."""
    gaps = TOKENS - 1
    scheduler.observe_queue_time(seconds)
    tokenizer.observe_time_to_first_token(LABELS, 2 * seconds, stream=True)
    for _ in range(gaps):
        tokenizer.observe_inter_token_latency(LABELS, seconds, 1)
    tokenizer.observe_one_finished_request(
        LABELS,
        prompt_tokens=10,
        generation_tokens=TOKENS,
        cached_tokens=0,
        e2e_latency=(2 + gaps) * seconds,
        has_grammar=False,
        is_streaming=True,
    )


# A scheduler's counters tell as well which of them it is.
metrics_collector.get_schedule = Settings
scheduler = SchedulerMetricsCollector(LABELS | {"tp_rank": 0, "pp_rank": 0, "moe_ep_rank": 0}, Settings())
tokenizer = TokenizerMetricsCollector(Settings(), LABELS)
for seconds, times in {0.008: 31, 0.45: 4}.items():
    for _ in range(times):
        request(seconds)

app = FastAPI()
http_request_metrics.init_http_request_metrics()
http_request_metrics.add_http_request_metrics_middleware(app)
app.mount("/metrics", make_asgi_app())
shop.complete(app, "/metrics/")
