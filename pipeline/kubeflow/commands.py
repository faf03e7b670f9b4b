"""The commands of `audio-gender` for Kubeflow Pipelines."""

from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.console import noise_to, progress, say


def compile_(
    config: Annotated[Path, typer.Option(help="YAML file, such as pipeline/configs/kubernetes.yaml.")],
    image: Annotated[str, typer.Option(metavar="NAME@DIGEST", help="Image of every step, from `make image`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Package to write.")] = Path("pipeline.yaml"),
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key of the YAML file.")
    ] = None,
    decision: Annotated[
        bool,
        typer.Option("--decision", help="Compile the pipeline that approves, rejects or rolls back, instead of the training's."),
    ] = False,
    allow_tag: Annotated[
        bool, typer.Option("--allow-tag", help="Take an image without a digest, on a cluster for tests.")
    ] = False,
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
    say(f"next: .venv/bin/audio-gender submit {output} --host URL, the address of Kubeflow Pipelines")
