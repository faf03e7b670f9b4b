# SPDX-License-Identifier: Apache-2.0
"""`audio-gender watch`: what a server was asked, against what its model was trained on."""

import os
import re
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.console import noise_to, say, tell
from beam_jobs.errors import UserError
from beam_jobs.paths import local_path
from pipeline.commands.options import Config, JsonFile, Settings, check_writable, write, write_json

ALARM_STATUS = 3
SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def watch(
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
    temporary: Annotated[
        Path | None,
        typer.Option(parser=local_path, metavar="DIR", help="For intermediate files; with Flink one that all workers see."),
    ] = None,
) -> None:
    """Compare what a server was asked with what its model was trained on; exit status 3 where there is an alarm."""
    from pipeline.config import load_config

    since_s = time.time() - _seconds(since)
    if webhook is not None and not re.match("https?://", webhook):
        raise UserError("--webhook: not an address that begins with http:// or https://")
    found = load_config(config, settings or ())
    for path, option in ((html, "--html"), (metrics, "--metrics")):
        if path and not path.parent.is_dir():
            raise UserError(f"{path.parent}: no such folder; give another file to {option}")
    if json_file is not None:
        check_writable(json_file)
    with noise_to(Path(os.devnull)):  # TensorFlow's and Beam's own notes
        from components.watch.check import check
        from components.watch.page import render
        from components.watch.tell import call_webhook, summary, write_metrics

        with tempfile.TemporaryDirectory(prefix="audio-gender-watch-", dir=temporary) as folder:
            watched = check(serving, log, since_s, version, found.watch, found.beam.pipeline, folder)
    result = watched.result
    if html:
        write(html, render(watched), "--html")
    if metrics:
        try:
            write_metrics(result, metrics)
        except OSError as error:
            raise UserError(f"{metrics}: cannot be written ({error.strerror}); give another file to --metrics") from None
    if write_json(json_file, result.model_dump_json(indent=1)):
        tell(summary(result))
        for line in [*result.reasons[1:], *(f"note: {note}" for note in result.notes)]:
            tell(f"  {line}")
        if result.accuracy:
            figures = result.accuracy
            interval = f"[{figures.low:.1%}, {figures.high:.1%}]"
            tell(f"  expected accuracy {figures.value:.1%} {interval}; reference {figures.reference:.1%}")
        if html:
            tell(f"  page: {html}")
    if result.status == "alarm":
        if webhook and (problem := call_webhook(result, webhook)):
            say(f"warning: the webhook was not told: {problem}")  # without its address, which may be a secret
        raise typer.Exit(ALARM_STATUS)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,3})?)([hdw])", text)
    if not found or not float(found[1]):
        raise UserError(f"--since {text}: expected a number of hours, days or weeks, such as 12h, 7d or 2w")
    return float(found[1]) * SECONDS[found[2]]
