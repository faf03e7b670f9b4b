# SPDX-License-Identifier: Apache-2.0
"""One training worker: `python -m components.trainer.worker JOB`."""

import argparse
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from beam_jobs.console import console
from beam_jobs.errors import UserError
from components.trainer.workers.protocol import INDEX_VARIABLE, PEER_LOST_STATUS, USER_ERROR_STATUS, error_file, tf_config

PR_SET_PDEATHSIG = 1


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

    from components.trainer.spec import TrainingSpec
    from components.trainer.training import train_and_export
    from components.trainer.workers.strategy import PeerLostError

    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    try:
        fn_args = SimpleNamespace(**json.loads(options.job.read_text()))
        train_and_export(fn_args, TrainingSpec.of(fn_args))
    except UserError as error:
        (options.error_file or error_file(options.job, index)).write_text(str(error))
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
