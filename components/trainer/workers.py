"""Many training workers: starting them on this machine, waiting for them, and being one of them.

A worker is `python -m components.trainer.workers JOB` with TF_CONFIG in its environment, whoever starts it. On this machine
`launch_here` does; on Kubernetes an Indexed Job does (`kubernetes_workers.py`), with --addresses in place of TF_CONFIG.
"""

import argparse
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from beam_jobs.console import console, say
from beam_jobs.errors import UserError
from components.run_id import VARIABLE as RUN_ID_VARIABLE
from components.run_id import run_id

MAX_RESTARTS = 3
POLL_S = 0.2
GRACE_S = 10.0
"""How long the others may take to end by themselves when one has failed, or when the chief is done."""

USER_ERROR_STATUS = 2
PEER_LOST_STATUS = 3
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Where Kubernetes' Indexed Jobs say which of its Pods one is."""
PR_SET_PDEATHSIG = 1
CODE = Path(__file__).parents[2]


class WorkerDied(Exception):  # noqa: N818 (it is no error of this program)
    """A worker was ended from outside: by the kernel for want of memory, or by somebody's kill."""


Launch = Callable[[Path, int], None]
"""Runs the job file with so many workers until they are done. Raises WorkerDied where it is worth another try."""


def train_on_workers(fn_args: Any, num_workers: int, launch: Launch | None = None) -> None:
    """Trains with several workers; where one dies, all go on from the last finished epoch.

    Without `launch`, the workers are Pods where `custom_config` names a folder that they share with this process, else
    processes of this machine.

    Raises:
        UserError: what a worker said, or that they died too often.
    """
    with ExitStack() as stack:
        shared_folder = fn_args.custom_config.get("shared_folder")
        if shared_folder is None:
            folder, launch = Path(stack.enter_context(TemporaryDirectory(prefix="workers-"))), launch or launch_here
        else:
            from components.trainer.kubernetes_workers import launcher
            from components.trainer.shared_folder import through_shared_folder

            if not (run := run_id(None)):
                raise UserError(
                    f"custom_config shared_folder is set without the run's id in the environment; set {RUN_ID_VARIABLE}"
                )
            launch = launch or launcher(run)
            fn_args, folder = stack.enter_context(through_shared_folder(fn_args, shared_folder, run))
        job = folder / "job.json"
        job.write_text(json.dumps({name: value for name, value in vars(fn_args).items() if _is_data(value)}))
        attempt = 1
        while True:
            try:
                launch(job, num_workers)
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
            _error_file(job, index).unlink(missing_ok=True)
            options: list[str] = ["--parent", str(os.getpid())]
            descriptors: tuple[int, ...] = ()
            if index == 0 and (screen := _screen()) is not None:
                options += ["--screen", str(screen)]
                descriptors = (screen,)
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "components.trainer.workers", *options, str(job)],
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
    said = {index: path.read_text() for index in range(len(processes)) if (path := _error_file(job, index)).exists()}
    if said:
        raise said_by_workers(said)
    raise RuntimeError(f"training workers failed, exit statuses {status}")


def said_by_workers(said: Mapping[int, str]) -> UserError:
    """One error out of what workers said, by index."""
    if len(set(said.values())) == 1:
        return UserError(next(iter(said.values())))
    return UserError("; ".join(f"worker {index}: {text}" for index, text in said.items()))


def tf_config(addresses: Sequence[str], index: int) -> str:
    """TF_CONFIG of one of the workers, whose `host:port` are given; number 0 is the chief."""
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}})


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


def _error_file(job: Path, index: int) -> Path:
    return job.with_name(f"error-{index}.txt")


def main(arguments: Sequence[str] | None = None) -> int:
    """Is a worker. Returns its exit status: 2 for a UserError, whose text is left in a file; 3 where another worker is gone."""
    parser = argparse.ArgumentParser(description="One training worker of the cluster that TF_CONFIG or --addresses describes.")
    parser.add_argument("job", type=Path, help="fn_args as JSON")
    parser.add_argument("--parent", type=int, help="id of the process with which this one ends")
    parser.add_argument("--screen", type=int, help="file descriptor for the progress bar")
    parser.add_argument(
        "--addresses",
        help=f"host:port of all workers, with commas; {INDEX_VARIABLE} says which this one is, instead of TF_CONFIG",
    )
    parser.add_argument("--error-file", type=Path, help="for the text of a UserError; by default beside the job file")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != options.parent:  # it ended before that
            return 1
    if options.screen is not None:
        console.file = os.fdopen(options.screen, "w")

    if options.addresses is not None:
        os.environ["TF_CONFIG"] = tf_config(options.addresses.split(","), int(os.environ[INDEX_VARIABLE]))

    from components.trainer.run_fn import run_fn
    from components.trainer.strategy import PeerLostError

    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    try:
        run_fn(SimpleNamespace(**json.loads(options.job.read_text())))
    except UserError as error:
        (options.error_file or _error_file(options.job, index)).write_text(str(error))
        return PEER_LOST_STATUS if isinstance(error, PeerLostError) else USER_ERROR_STATUS
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    # TensorFlow would take leave of the other workers first, and abort where one is gone already.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
