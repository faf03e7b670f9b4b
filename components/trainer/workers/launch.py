"""Many training workers: starting them, on this machine or elsewhere, and waiting for them.

A worker is `python -m components.trainer.worker JOB` with TF_CONFIG in its environment, whoever starts it. On this machine
`launch_here` does; on Kubernetes an Indexed Job does (`kubernetes/launch.py`), with --addresses in place of TF_CONFIG.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from beam_jobs.console import console, say
from beam_jobs.errors import UserError
from components.run_id import run_id
from components.trainer.spec import TrainingSpec
from components.trainer.workers.protocol import MAX_RESTARTS, WorkerDied, error_file, said_by_workers, tf_config

POLL_S = 0.2
GRACE_S = 10.0
"""How long the others may take to end by themselves when one has failed, or when the chief is done."""

CODE = Path(__file__).parents[3]


Launch = Callable[[Path, int], None]
"""Runs the job file with so many workers until they are done. Raises WorkerDied where it is worth another try."""


def train_on_workers(fn_args: Any, spec: TrainingSpec, launch: Launch | None = None) -> None:
    """Trains with several workers; where one dies, all go on from the last finished epoch.

    Without `launch`, the workers are Pods where `spec` names a folder that they share with this process, else processes of this
    machine.

    Raises:
        UserError: what a worker said, or that they died too often.
    """
    # The workers get the spec as it is after tuning.
    fn_args = SimpleNamespace(**{**vars(fn_args), "custom_config": spec.model_dump(mode="json"), "hyperparameters": None})
    with ExitStack() as stack:
        if spec.shared_folder is None:
            folder, launch = Path(stack.enter_context(TemporaryDirectory(prefix="workers-"))), launch or launch_here
        else:
            from components.trainer.workers.kubernetes.launch import launcher
            from components.trainer.workers.kubernetes.shared_folder import through_shared_folder

            run = run_id(None)
            dataset = Path(spec.clips.dataset_uri) if spec.clips and spec.clips.is_local else None
            launch = launch or launcher(run, dataset)
            fn_args, folder = stack.enter_context(through_shared_folder(fn_args, spec.shared_folder, run))
        job = folder / "job.json"
        job.write_text(json.dumps({name: value for name, value in vars(fn_args).items() if _is_data(value)}))
        attempt = 1
        while True:
            try:
                launch(job, spec.train.num_workers)
                return
            except WorkerDied as death:
                if attempt > MAX_RESTARTS:
                    raise UserError(
                        f"{death}, after {MAX_RESTARTS} restarts; memory may be short: lower train.batch_size or "
                        "train.num_workers, and go on with --resume"
                    ) from None
                say(f"{death}; all workers start again from the last finished epoch")
                attempt += 1


def _is_data(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | list | dict)


def launch_here(job: Path, num_workers: int) -> None:
    """Runs the workers as processes of this machine, which end when this one does, however it ends.

    Raises:
        WorkerDied: a signal ended a worker.
        UserError: what a worker said.
        RuntimeError: a worker failed; its traceback is where this process's stderr goes.
    """
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(num_workers)]
    # The workers share the processors.
    threads = str(max(1, len(os.sched_getaffinity(0)) // num_workers))
    paths = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    shared = {"TF_NUM_INTRAOP_THREADS": threads, "PYTHONPATH": os.pathsep.join(paths)}
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []
        for index in range(num_workers):
            error_file(job, index).unlink(missing_ok=True)
            options: list[str] = ["--parent", str(os.getpid())]
            descriptors: tuple[int, ...] = ()
            if index == 0 and (screen := _screen()) is not None:
                options += ["--screen", str(screen)]
                descriptors = (screen,)
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "components.trainer.worker", *options, str(job)],
                    env={**os.environ, **shared, "TF_CONFIG": tf_config(addresses, index)},
                    pass_fds=descriptors,
                    # Ctrl-C is for this process, which ends them.
                    start_new_session=True,
                )
            )
            stack.callback(_end, processes[-1])
        _wait(processes, job)


def _wait(processes: Sequence[subprocess.Popen[bytes]], job: Path) -> None:
    while processes[0].poll() is None and not any(process.poll() for process in processes):
        time.sleep(POLL_S)
    deadline = time.monotonic() + GRACE_S
    # One that was killed says nothing more, and the others wait for it in vain.
    while time.monotonic() < deadline and None in (status := [process.poll() for process in processes]):
        if any(code is not None and code < 0 for code in status):
            break
        time.sleep(POLL_S)
    status = [process.poll() for process in processes]
    if status[0] == 0:
        return
    for index, code in enumerate(status):
        if code is not None and code < 0:
            raise WorkerDied(f"training worker {index} of {len(processes)} was ended by {signal.Signals(-code).name}")
    said = {index: path.read_text() for index in range(len(processes)) if (path := error_file(job, index)).exists()}
    if said:
        raise said_by_workers(said)
    raise RuntimeError(f"training workers failed, exit statuses {status}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _screen() -> int | None:
    try:
        return console.file.fileno()
    except OSError:  # a stream that is no file, as under pytest
        return None
