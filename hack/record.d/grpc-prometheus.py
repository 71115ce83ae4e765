"""gRPC in Python, by py-grpc-prometheus. It sends its own calls, and prints its page."""
import os
# The library's generated code is older than the protobuf of today.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

import shop

shop.about("py-grpc-prometheus", "grpcio")

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import generate_latest
from py_grpc_prometheus.prometheus_server_interceptor import PromServerInterceptor


def ok(request, _):
    return request


def slow(request, _):
    sleep(shop.SLOW_SECONDS)
    return request


def fail(_, context):
    context.abort(grpc.StatusCode.INTERNAL, "as it was asked to")


def none(_, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "as it was asked to")


def broken(*_):
    raise RuntimeError("broken, as it was asked to be")


METHODS = {"Pay": (ok, 24), "Slow": (slow, 4), "Fail": (fail, 3), "Broken": (broken, 2), "None": (none, 2)}
handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, (method, _) in METHODS.items()}
server = grpc.server(
    ThreadPoolExecutor(4), interceptors=(PromServerInterceptor(enable_handling_time_histogram=True),)
)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Checkout", handlers),))
health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()


def call(method, *args):
    try:
        method(*args)
    except grpc.RpcError:
        pass


with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    for name, (_, times) in METHODS.items():
        for _ in range(times):
            call(channel.unary_unary(f"/shop.Checkout/{name}"), b"")
    for _ in range(6):
        call(health_pb2_grpc.HealthStub(channel).Check, health_pb2.HealthCheckRequest(service="of nobody"))
server.stop(None).wait()
print(generate_latest().decode(), end="")
