# SPDX-License-Identifier: Apache-2.0
"""What Beam jobs share: their options, their progress, and what is left where they are stopped."""

import io
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions

from beam_jobs import writers
from beam_jobs.console import progress
from beam_jobs.errors import UserError
from beam_jobs.files import absolute, join, remove, remove_folder, storage_errors
from beam_jobs.filesystems import FileSystems, set_filesystem_options

DEFAULT_BEAM_OPTIONS = ("--runner=DirectRunner", "--direct_running_mode=in_memory")


def check_beam_options(beam_options: Sequence[str]) -> None:
    """Holds Beam's options against Beam, before anything depends on them.

    Raises:
        UserError: Beam refuses one of them.
    """
    # A pipeline makes a temporary folder, which only running it removes.
    shutil.rmtree(make_pipeline(beam_options).local_tempdir)


def make_pipeline(beam_options: Sequence[str]) -> beam.Pipeline:
    """A pipeline with these options, and DirectRunner in this process where they name no other.

    Raises:
        UserError: Beam refuses one of them.
    """
    complaints = io.StringIO()
    try:
        # The defaults hold where nothing else is said: without a mode, DirectRunner would try to download Prism.
        options = PipelineOptions([*DEFAULT_BEAM_OPTIONS, *beam_options])
        with redirect_stderr(complaints):
            options.get_all_options()  # Beam parses an option only where it is used; argparse writes and exits
        return beam.Pipeline(options=options)
    except (ValueError, SystemExit) as error:
        reason = complaints.getvalue().strip().rpartition("error: ")[2] if isinstance(error, SystemExit) else str(error)
        raise UserError(f"Beam options {' '.join(beam_options)}: {' '.join(reason.split())}") from None


def temp_location(beam_options: Sequence[object]) -> str | None:
    """Beam's option of that name; None where workers are processes of this machine and it is not given.

    Raises:
        UserError: it is not given, and workers are elsewhere.
    """
    options = PipelineOptions([str(option) for option in beam_options])
    location, runner = options.view_as(GoogleCloudOptions).temp_location, options.view_as(StandardOptions).runner
    if location:
        return absolute(location)
    if runner and not runner.endswith("DirectRunner"):
        raise UserError(
            f"beam.pipeline has --runner={runner} and no --temp_location; add one, a bucket or a folder that its workers and "
            "this machine both reach"
        )
    return None


@contextmanager
def shared_folder(beam_options: Sequence[object]) -> Iterator[str | None]:
    """A new folder that all workers reach, gone after the body; None where workers are processes of this machine.

    Raises:
        UserError: as `temp_location`.
    """
    location = temp_location(beam_options)
    if location is None:
        yield None
        return
    set_filesystem_options([str(option) for option in beam_options])
    folder = join(location, f"step-{uuid.uuid4().hex}")
    try:
        yield folder
    finally:
        remove_folder(folder)


@contextmanager
def watch(what: str, total: int, unit: str, count: Callable[[], int]) -> Iterator[None]:
    """Shows progress while the body runs: how many of `total` there are, which `count` finds out by looking at the output."""
    stop = threading.Event()
    with progress(what, total, unit) as advance:

        def poll() -> None:
            seen, pause_s = 0, 0.5
            while not stop.wait(pause_s):
                started = time.monotonic()
                try:
                    now = count()
                except storage_errors():
                    continue  # a file that is renamed while it is looked at; the next look finds it
                advance(max(0, now - seen))
                seen = max(now, seen)
                # An object store lists a large dataset slowly, and for money.
                pause_s = max(0.5, 20 * (time.monotonic() - started))

        poller = threading.Thread(target=poll, daemon=True)
        poller.start()
        try:
            yield
        finally:
            stop.set()
            poller.join()


@contextmanager
def tidied(folder: str, job: beam.Pipeline) -> Iterator[None]:
    """Removes half-written files of `folder` where the job is stopped: workers on this machine are, those of a cluster not."""
    runs_here = job.options.view_as(StandardOptions).runner == "DirectRunner"  # Beam puts another name there as it starts
    writers.start()
    try:
        yield
    except BaseException:
        if runs_here:
            writers.stop()
            for match in FileSystems.match([FileSystems.join(folder, "*.tmp")]):
                for file in match.metadata_list:
                    remove(file.path)
        raise
