# SPDX-License-Identifier: Apache-2.0
"""An external worker pool for several TaskManagers: `python worker_pool.py PORT`.

Each TaskManager numbers its workers from 1. Beam's own pool (`worker_pool_main`) keeps processes by that number alone, so on one
machine the end of one TaskManager's worker would end another's; this one keeps them by connection and number.
"""

import subprocess
import sys
from concurrent import futures

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts and stops worker processes as TaskManagers ask for them."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def StartWorker(  # noqa: N802 (gRPC's name)
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: grpc.ServicerContext
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        command = [
            sys.executable,
            "-m",
            "beam_jobs.worker",
            f"--id={request.worker_id}",
            f"--logging_endpoint={request.logging_endpoint.url}",
            f"--provision_endpoint={request.provision_endpoint.url}",
            f"--control_endpoint={request.control_endpoint.url}",
        ]
        self._workers[context.peer(), request.worker_id] = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(  # noqa: N802 (gRPC's name)
        self, request: beam_fn_api_pb2.StopWorkerRequest, context: grpc.ServicerContext
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        # A worker that nobody stops ends by itself when its TaskManager's control connection closes.
        if worker := self._workers.pop((context.peer(), request.worker_id), None):
            worker.terminate()
            worker.wait()
        return beam_fn_api_pb2.StopWorkerResponse()


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
