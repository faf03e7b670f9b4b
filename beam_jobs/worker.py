# SPDX-License-Identifier: Apache-2.0
"""Starts one of Beam's Python workers as Beam's container contract has it, without a container of its own.

Beam's worker pool, given this as its `--container_executable`, starts it for each worker that a TaskManager asks for. It gets the
job's pipeline options from the runner's provision service; the worker that the pool starts by itself gets none, and without them
Beam's filesystems open no `s3://`.
"""

import argparse
import os
import sys

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor
from google.protobuf import json_format, text_format


def _provision_info(endpoint: str, worker_id: str) -> beam_provision_api_pb2.ProvisionInfo:
    with grpc.insecure_channel(endpoint) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(grpc.intercept_channel(channel, WorkerIdInterceptor(worker_id)))
        return stub.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest(), timeout=30).info


def _service(url: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))


def main() -> None:
    """Becomes the worker that the pool's arguments describe."""
    parser = argparse.ArgumentParser()
    for name in ("id", "logging_endpoint", "provision_endpoint", "control_endpoint"):
        parser.add_argument(f"--{name}", required=True)
    arguments, _ = parser.parse_known_args()  # the pool gives one for artifacts as well: the image has all
    info = _provision_info(arguments.provision_endpoint, arguments.id)
    os.environ |= {
        "WORKER_ID": arguments.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "LOGGING_API_SERVICE_DESCRIPTOR": _service(arguments.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": _service(arguments.control_endpoint),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    sdk_worker_main.main(sys.argv[:1])


if __name__ == "__main__":
    main()
