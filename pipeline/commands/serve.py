# SPDX-License-Identifier: Apache-2.0
"""`audio-gender serve`: the model over HTTP, and a page to try it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.console import noise_to
from beam_jobs.errors import UserError
from beam_jobs.paths import local_path
from components.server.config import LogConfig, ServerConfig
from components.watch.fields import GROUPS
from pipeline.commands.options import PublicKey

DEFAULT = ServerConfig(Path("work/serving"))
LOG = LogConfig(Path())


def serve(
    serving: Annotated[
        Path, typer.Option(parser=local_path, metavar="DIR", help="Serving folder, whose newest version answers.")
    ] = DEFAULT.serving,
    name: Annotated[str, typer.Option(help="The model's name in the protocols' paths.")] = DEFAULT.name,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 accepts connections from other machines.")
    ] = DEFAULT.host,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = DEFAULT.port,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request of the protocols, in MiB.")] = DEFAULT.max_body_mb,
    max_recording_mb: Annotated[
        int, typer.Option(min=1, help="Largest recording that the page and /analyse take, in MiB.")
    ] = DEFAULT.max_recording_mb,
    max_duration_s: Annotated[
        float, typer.Option(min=1, help="Longest recording that the page and /analyse take.")
    ] = DEFAULT.max_duration_s,
    max_waiting: Annotated[
        int, typer.Option(min=0, help="Requests that wait for a worker; more are answered with 503.")
    ] = DEFAULT.max_waiting,
    timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Time limit for receiving a request, and for answering it.")
    ] = DEFAULT.timeout_s,
    workers: Annotated[
        int, typer.Option(min=1, help="Requests that the model answers at the same time.", show_default="number of processors")
    ] = DEFAULT.workers,
    public_key: PublicKey = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log", parser=local_path, metavar="DIR", help="Folder for a log of some requests' measures and scores, for `watch`."
        ),
    ] = None,
    log_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the requests to log.")] = LOG.share,
    log_fields: Annotated[
        str, typer.Option(metavar="GROUPS", help="What to log: measures, mel, embedding, audio; sound is kept only with audio.")
    ] = ",".join(sorted(LOG.fields, key=list(GROUPS).index)),
    log_days: Annotated[float, typer.Option(min=0.05, help="Days to keep the log.")] = LOG.days,
    log_max_mb: Annotated[int, typer.Option(min=1, help="Largest size of the log, in MiB; oldest files go first.")] = LOG.max_mb,
) -> None:
    """Serve the newest model: Open Inference Protocol v2, TensorFlow Serving's REST paths, metrics, and a page to try it."""
    with noise_to(Path(os.devnull)):  # TensorFlow's notes on the processor
        from components.server.run import run

    limits = (max_body_mb, max_recording_mb, max_duration_s, max_waiting, timeout_s, workers)
    kept = LogConfig(log, log_share, _groups(log_fields), log_days, log_max_mb) if log else None
    run(ServerConfig(serving, name, host, port, *limits, public_key=public_key, log=kept))


def _groups(names: str) -> frozenset[str]:
    found = frozenset(filter(None, names.split(",")))
    if unknown := found - set(GROUPS):
        raise UserError(f"--log-fields {min(unknown)}: unknown; there are {', '.join(GROUPS)}")
    return found
