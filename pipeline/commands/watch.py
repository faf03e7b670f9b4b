# SPDX-License-Identifier: Apache-2.0
"""`audio-gender watch`: what a server was asked, against what its model was trained on, and a retraining where that differs."""

import os
import re
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beam_jobs.command_line import command
from beam_jobs.console import noise_to, progress, say, tell
from beam_jobs.errors import UserError
from beam_jobs.paths import check_file, local_path
from pipeline.commands.options import (
    STDOUT,
    Config,
    Cookies,
    Host,
    JsonFile,
    Namespace,
    ServiceAccount,
    Settings,
    TokenFile,
    check_beam,
    check_writable,
    write,
    write_json,
)

if TYPE_CHECKING:
    from components.alarm import Alarm
    from components.watch.check import Watched
    from components.watch.result import WatchResult
    from pipeline.config import PipelineConfig

ALARM_STATUS = 3
SKEW_ALONE = "not retrained: only the skew is an alarm, which is a fault of the server; training again does not remove it"
SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def watch(
    context: typer.Context,
    log: Annotated[Path, typer.Option("--log", parser=local_path, metavar="DIR", help="What `serve --log` wrote.")],
    since: Annotated[str, typer.Option(metavar="TIME", help="How far back, such as 12h, 7d or 2w.")] = "7d",
    serving: Annotated[Path, typer.Option(parser=local_path, metavar="DIR", help="Serving folder.")] = Path("work/serving"),
    version: Annotated[
        str | None, typer.Option("--model", metavar="VERSION", help="Version to watch; default: the newest in serving.")
    ] = None,
    config: Config = Path("demo"),
    settings: Settings = None,
    html: Annotated[Path | None, typer.Option(parser=local_path, metavar="FILE", help="Write the page to this file.")] = None,
    json_file: JsonFile = None,
    metrics: Annotated[
        Path | None,
        typer.Option(parser=local_path, metavar="FILE", help="Write figures for Prometheus' textfile collector (*.prom)."),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="AUDIO_GENDER_WEBHOOK", help="POST the result as JSON there when there is an alarm."),
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain", help="Start the pipeline when there is an alarm: `run`, or with --package a run on Kubeflow Pipelines."
        ),
    ] = False,
    corpus: Annotated[str | None, typer.Option(help="With --retrain: the corpus, as with `run`.")] = None,
    package: Annotated[
        Path | None,
        typer.Option(
            parser=local_path, metavar="FILE", help="With --retrain: the package, from `compile`, to start on Kubeflow."
        ),
    ] = None,
    host: Host = "http://localhost:8080",
    namespace: Namespace = "kubeflow",
    service_account: ServiceAccount = None,
    token_file: TokenFile = None,
    cookies: Cookies = None,
) -> None:
    """Compare what a server was asked with what its model was trained on, and retrain if it differs.

    Exit status: 3 if there is an alarm, whether or not it led to a retraining; 0 if there is none; 2 for a mistake that you
    can correct, such as one that keeps a retraining from starting.
    """
    from pipeline.config import load_config

    since_s = time.time() - _seconds(since)
    if webhook is not None and not re.match("https?://", webhook):
        raise UserError("--webhook: expected an address that begins with http:// or https://")
    found = load_config(config, settings or ())
    for path, option in ((html, "--html"), (metrics, "--metrics")):
        if path and not path.parent.is_dir():
            raise UserError(f"{path.parent}: no such folder; give another file to {option}")
    if json_file is not None:
        check_writable(json_file)
    start: Callable[[Alarm], str] | None = None
    if not retrain and (package or corpus):
        raise UserError(f"{'--package' if package else '--corpus'} needs --retrain")
    if package:
        start = partial(_on_kubeflow, log, found, package, (host, namespace, token_file, cookies), service_account)
        _check_readable(package)
    elif retrain:
        source = context.get_parameter_source("config")
        if source is None or source.name == "DEFAULT":
            raise UserError("--retrain runs the pipeline; give its --config")
        start = _here(log, found, corpus, serving)
    with noise_to(Path(os.devnull)):  # TensorFlow's and Beam's own notes
        from components.watch.check import check

        with tempfile.TemporaryDirectory(prefix="audio-gender-watch-") as folder:
            watched = check(serving, log, since_s, version, found.watch, found.beam.pipeline, folder)
    result = watched.result
    file = None if json_file == STDOUT else json_file
    print_line = say if json_file == STDOUT else tell
    # A retraining may take hours: what there is to tell is told before, and what became of it afterwards.
    _write(watched, html, metrics, file)
    if json_file != STDOUT:
        _tell(result, html)
    alarm = result.status == "alarm"
    if alarm and webhook:
        from components.watch.tell import call_webhook

        if problem := call_webhook(result, webhook):
            say(f"warning: the webhook failed: {problem}")  # without its address, which may be a secret
    if alarm and start:
        result.retraining = start(result.cause) if result.cause else SKEW_ALONE
        _write(watched, html, metrics, file)
        print_line(result.retraining)
    if json_file == STDOUT:
        write_json(json_file, result.model_dump_json(indent=1))
    if alarm:
        raise typer.Exit(ALARM_STATUS)


def _here(log: Path, config: "PipelineConfig", corpus: str | None, serving: Path) -> "Callable[[Alarm], str]":
    """What retrains on this machine. Raises UserError where it could not."""
    from pipeline import retraining
    from pipeline.run import corpus_root

    workdir = retraining.work_folder(serving)
    corpus_root(config, corpus, workdir)
    check_beam(config)

    def start(alarm: "Alarm") -> str:
        run = partial(retraining.run_here, alarm, config, corpus, workdir)
        return retraining.retrain(log, config.watch.quiet_days, partial(retraining.last_here, workdir), run)

    return start


def _on_kubeflow(
    log: Path,
    config: "PipelineConfig",
    package: Path,
    connection: "tuple[str, str, Path | None, str | None]",
    service_account: str | None,
    alarm: "Alarm",
) -> str:
    """Retrains on Kubeflow, if it is time to; says what was done."""
    with progress("connecting", 1):
        from pipeline.kubeflow.client import connect
        from pipeline.kubeflow.retraining import last_on_kubeflow, run_on_kubeflow
        from pipeline.retraining import retrain

        kubeflow = connect(*connection)
    run = partial(run_on_kubeflow, alarm, kubeflow, package, service_account)
    return retrain(log, config.watch.quiet_days, partial(last_on_kubeflow, kubeflow), run)


def _write(watched: "Watched", html: Path | None, metrics: Path | None, json_file: Path | None) -> None:
    """Writes the files that were asked for."""
    with noise_to(Path(os.devnull)):
        from components.watch.page import render
        from components.watch.tell import write_metrics

    if html:
        write(html, render(watched), "--html")
    if metrics:
        try:
            write_metrics(watched.result, metrics)
        except OSError as error:
            raise UserError(f"{metrics}: cannot be written ({error.strerror}); give another file to --metrics") from None
    write_json(json_file, watched.result.model_dump_json(indent=1))


def _tell(result: "WatchResult", html: Path | None) -> None:
    from components.watch.tell import summary

    tell(summary(result))
    for line in [*result.reasons[1:], *(f"note: {note}" for note in result.notes)]:
        tell(f"  {line}")
    if result.accuracy:
        figures = result.accuracy
        interval = f"[{figures.low:.1%}, {figures.high:.1%}]"
        tell(f"  expected accuracy {figures.value:.1%} {interval}; reference {figures.reference:.1%}")
    if html:
        tell(f"  page: {html}")


def _check_readable(package: Path) -> None:
    try:
        check_file(package)
        package.read_bytes()
    except OSError as error:
        raise UserError(f"--package {package}: {error.strerror}; write it with `{command('compile')}`") from None


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,3})?)([hdw])", text)
    if not found or not float(found[1]):
        raise UserError(f"--since {text}: expected a number of hours, days or weeks, such as 12h, 7d or 2w")
    return float(found[1]) * SECONDS[found[2]]
