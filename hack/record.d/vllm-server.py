"""vLLM's counters of its engine, which are told of requests by this program, and those of its API server, which is asked."""
import shop

shop.about("vllm")

from time import time

import stand_in

stand_in.load(
    real=["vllm.envs", "vllm.v1.engine", "vllm.v1.spec_decode.metrics", "vllm.entrypoints.serve.instrumentator.metrics"]
    + [f"vllm.v1.metrics.{name}" for name in ["buckets", "cache_hit_source", "loggers", "prometheus", "stats", "utils"]],
    absent=["torch"],
)

from fastapi import FastAPI
from vllm.entrypoints.serve.instrumentator.metrics import attach_router
from vllm.v1.engine import EngineCoreOutput, FinishReason
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.stats import IterationStats, RequestStateStats

TOKENS = 20


class Settings(stand_in.Nothing):
    """All that the counters ask of the engine's settings."""

    served_model_name = "llama"
    max_model_len = 4096
    observability_config = model_config = property(lambda self: Settings())
    custom_histogram_buckets = lora_config = speculative_config = watermark_config = None
    show_hidden_metrics = kv_cache_metrics = is_diffusion = False


def request(logger, reason, wait, gap):
    """A request that waits so long, in seconds, has its first token as long after, and others in this distance."""
    arrived = time()
    state = RequestStateStats(arrival_time=arrived, queued_ts=100.0, scheduled_ts=100.0 + wait)
    for token in range(TOKENS):
        seconds = 2 * wait + token * gap
        stats = IterationStats()
        stats.iteration_timestamp = arrived + seconds
        output = EngineCoreOutput(request_id="1", new_token_ids=[1])
        stats.update_from_output(output, 100.0 + seconds, token == 0, state, None, None)
        if token == TOKENS - 1:
            stats.update_from_finished_request(reason, "1", 10, None, state)
        logger.record(scheduler_stats=None, iteration_stats=stats)


logger = PrometheusStatLogger(Settings())
for reason, times in {FinishReason.STOP: 24, FinishReason.ERROR: 5, FinishReason.ABORT: 2}.items():
    for _ in range(times):
        request(logger, reason, 0.02, 0.01)
for _ in range(4):
    request(logger, FinishReason.LENGTH, 0.35, 0.35)

app = FastAPI()
attach_router(app)
shop.complete(app, "/metrics")
