# SPDX-License-Identifier: Apache-2.0
"""`audio-gender compile` and `submit`: Kubeflow Pipelines."""

from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.command_line import command
from beam_jobs.console import noise_to, progress, say, tell
from beam_jobs.errors import UserError
from beam_jobs.paths import local_path
from pipeline.commands.options import Cookies, Host, Namespace, ServiceAccount, TokenFile


def compile_(
    config: Annotated[
        Path, typer.Option(parser=local_path, metavar="FILE", help="YAML file, such as k8s/overlays/local/config.yaml.")
    ],
    image: Annotated[str, typer.Option(metavar="NAME@DIGEST", help="Image of every step, from `make image`.")],
    output: Annotated[Path, typer.Option("--output", "-o", parser=local_path, metavar="FILE", help="Package to write.")] = Path(
        "pipeline.yaml"
    ),
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key of the YAML file.")
    ] = None,
    decision: Annotated[
        bool,
        typer.Option(
            "--decision", help="Compile the pipeline that approves, rejects or rolls back, instead of the training pipeline."
        ),
    ] = False,
    allow_tag: Annotated[bool, typer.Option("--allow-tag", help="Accept an image without a digest, on a test cluster.")] = False,
) -> None:
    """Compile the pipeline for Kubeflow Pipelines."""
    from pipeline.config import load_config
    from pipeline.kubeflow.image import check_image

    check_image(image, allow_tag)
    resolved = load_config(config, settings or ())
    with progress("compiling", 1), noise_to(Path("/dev/null")):
        from pipeline.kubeflow.compile import compile_decision, compile_pipeline, write_package

        write_package((compile_decision if decision else compile_pipeline)(resolved, image), output)
    say(f"compiled: {output}")
    say(f"next: `{command('submit', output, '--host', 'URL')}` with the address of Kubeflow Pipelines")


def submit(
    package: Annotated[Path, typer.Argument(parser=local_path, metavar="PACKAGE", help="From `audio-gender compile`.")] = Path(
        "pipeline.yaml"
    ),
    host: Host = "http://localhost:8080",
    parameters: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Runtime parameter, such as epochs=10.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; default: the pipeline's, with the time.")] = None,
    experiment: Annotated[str, typer.Option(help="Experiment of the run; created if it does not exist.")] = "audio-gender",
    namespace: Namespace = "kubeflow",
    service_account: ServiceAccount = None,
    token_file: TokenFile = None,
    cookies: Cookies = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the run.")] = False,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Follow this run instead of starting one.")] = None,
) -> None:
    """Upload a package to Kubeflow Pipelines, start a run and follow it; exit status 1 if the run fails."""
    values = dict(item.split("=", 1) if "=" in item else _not_a_value(item) for item in parameters or ())
    with progress("connecting", 1):
        from pipeline.kubeflow.client import connect
        from pipeline.kubeflow.follow import follow
        from pipeline.kubeflow.submit import submit as start

        kubeflow = connect(host, namespace, token_file, cookies)
    run_id = run or start(package, kubeflow, name=name, experiment=experiment, service_account=service_account, parameters=values)
    if detach:
        tell(run_id)
        say(f"next: follow it with `{command('submit', '--run', run_id, *kubeflow.options)}`")
    elif not follow(kubeflow, run_id):
        raise typer.Exit(1)


def _not_a_value(item: str) -> list[str]:
    raise UserError(f"--set {item}: expected NAME=VALUE, such as epochs=10")
