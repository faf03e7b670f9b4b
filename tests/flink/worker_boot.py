# SPDX-License-Identifier: Apache-2.0
"""Starts one Python SDK worker as Beam's container contract has it, without a container.

It asks the runner's provision service for the pipeline options, which the worker that Beam's own pool starts does not get:
without them no `--s3_…` option reaches Beam's filesystems.
"""

import argparse
import os
import sys

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor
from google.protobuf import json_format, text_format


def provision_info(endpoint: str, worker_id: str) -> beam_provision_api_pb2.ProvisionInfo:
    with grpc.insecure_channel(endpoint) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(grpc.intercept_channel(channel, WorkerIdInterceptor(worker_id)))
        return stub.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest(), timeout=30).info


def service(url: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("id", "logging_endpoint", "provision_endpoint", "control_endpoint"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    info = provision_info(arguments.provision_endpoint, arguments.id)
    os.environ |= {
        "WORKER_ID": arguments.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "LOGGING_API_SERVICE_DESCRIPTOR": service(arguments.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": service(arguments.control_endpoint),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    sdk_worker_main.main(sys.argv[:1])


if __name__ == "__main__":
    main()
