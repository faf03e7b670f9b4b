# SPDX-License-Identifier: Apache-2.0
"""What training needs besides its clips, in a folder that workers on other machines see, and what they leave behind.

`<shared folder>/<run id>/checkpoints` outlives a failed attempt, so that the next one of the same run goes on; all else there is
of one attempt.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from beam_jobs.errors import UserError
from components.trainer.workers.protocol import CHECKPOINTS

INPUTS = ("transform_graph_path", "transform_output", "schema_path", "schema_file")
OUTPUTS = ("serving_model_dir", "model_run_dir")


@contextmanager
def through_shared_folder(fn_args: Any, shared_folder: str, run_id: str) -> Iterator[tuple[Any, Path]]:
    """Yields fn_args whose paths are in the shared folder, and a folder there that goes when the body is left.

    The inputs are copied there before; what is in the outputs is copied back, if the body raises nothing.

    Raises:
        UserError: the folder is not there, not writable or full.
    """
    folder = Path(shared_folder)
    if not folder.is_dir():
        raise UserError(f"the shared folder {folder} does not exist; mount its claim into the Trainer's step")
    run = folder / run_id
    try:
        with _folder_errors(run):
            run.mkdir(exist_ok=True)
            _remove_attempts(run)
            attempt = Path(tempfile.mkdtemp(prefix="attempt-", dir=run))
            staged = _staged(fn_args, run, attempt)
        yield staged, attempt
        with _folder_errors(run):
            for name in OUTPUTS:
                _copy_folder(str(attempt / name), getattr(fn_args, name))
    finally:
        _leave(run)


@contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the shared folder {folder} cannot be used: {reason}; it must be writable by this user and have room for checkpoints"
        ) from error


def _remove_attempts(run: Path) -> None:
    for path in run.iterdir():
        if path.name != CHECKPOINTS:
            tf.io.gfile.rmtree(str(path))


def _leave(run: Path) -> None:
    with suppress(OSError, tf.errors.OpError):  # the next attempt removes what is left
        _remove_attempts(run)
        if not any(run.iterdir()):
            run.rmdir()


def _staged(fn_args: Any, run: Path, attempt: Path) -> SimpleNamespace:
    """Copies the inputs; returns fn_args that name the copies."""
    values = dict(vars(fn_args))
    copies: dict[str, str] = {}
    for name in INPUTS:
        source = values.get(name)
        if source and source not in copies:
            copies[source] = str(attempt / name / PurePosixPath(source).name)
            _copy(source, copies[source])
        if source:
            values[name] = copies[source]
    # The chief makes them: what this machine has not seen, its NFS client cannot remember as empty.
    values |= {name: str(attempt / name) for name in OUTPUTS}
    values["custom_config"] = {**fn_args.custom_config, "checkpoints": str(run / CHECKPOINTS)}
    return SimpleNamespace(**values)


def _copy(source: str, target: str) -> None:
    if tf.io.gfile.isdir(source):
        _copy_folder(source, target)
    else:
        tf.io.gfile.makedirs(str(PurePosixPath(target).parent))
        tf.io.gfile.copy(source, target)


def _copy_folder(source: str, target: str) -> None:
    for folder, _, files in tf.io.gfile.walk(source):
        within = f"{target}/{folder.removeprefix(source).strip('/')}".rstrip("/")
        tf.io.gfile.makedirs(within)
        for name in files:
            tf.io.gfile.copy(f"{folder}/{name}", f"{within}/{name}", overwrite=True)
