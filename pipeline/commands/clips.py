# SPDX-License-Identifier: Apache-2.0
"""`audio-gender clips`: training clips."""

from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.console import progress, say
from beam_jobs.paths import local_path
from pipeline.commands.options import Config, Settings, write
from pipeline.table import print_table

app = typer.Typer(no_args_is_help=True, help="Training clips.")


@app.command("generate", context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def clips_generate(
    context: typer.Context,
    config: Config,
    corpus: Annotated[str, typer.Option(help="Corpus root.")],
    output: Annotated[str, typer.Option(help="Dataset folder to make.")],
    settings: Settings = None,
    own_folder: Annotated[
        bool,
        typer.Option(
            "--own-folder", help="Make it below --output, in a folder named by its settings and recordings, as pipelines do."
        ),
    ] = False,
) -> None:
    """Mix clips into a dataset folder; options for Beam follow after `--`."""
    from beam_jobs.corpus.readers import read_corpus_with_bar
    from beam_jobs.filesystems import set_filesystem_options
    from beam_jobs.generate_clips import generate_below, generate_clips
    from pipeline.config import load_config

    resolved = load_config(config, settings or ())
    beam_options = context.args or resolved.beam.clips
    set_filesystem_options(beam_options)
    index = read_corpus_with_bar(corpus, resolved.corpus.subsets, labelling=resolved.corpus.labelling)
    if own_folder:
        output, info = generate_below(resolved.clips, index, output, beam_options)
    else:
        info = generate_clips(resolved.clips, index, output, beam_options)
    rows = [(split, *(str(counts[name]) for name in info.classes)) for split, counts in info.counts.items()]
    print_table(f"Dataset {output}", ("split", *info.classes), rows)


@app.command("describe")
def clips_describe(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Dataset folder.")],
    croissant: Annotated[
        Path, typer.Option(parser=local_path, metavar="FILE", help="File to write, best in the dataset's folder.")
    ],
) -> None:
    """Describe a dataset in Croissant, MLCommons' format for machine-learning datasets."""
    from beam_jobs.croissant import describe

    write(croissant, describe(folder), "--croissant")
    if croissant.parent.resolve() != Path(folder).resolve():
        say(f"next: put {croissant} into {folder}; its paths are relative to that")


@app.command("inspect")
def clips_inspect(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Dataset folder.")],
    number: Annotated[int, typer.Option("-n", min=1, help="Clips on the page.")] = 10,
    html: Annotated[Path, typer.Option(parser=local_path, metavar="FILE", help="Page to write.")] = Path("clips.html"),
    seed: Annotated[int, typer.Option(min=0, help="Which clips are drawn.")] = 0,
) -> None:
    """Print a dataset's figures, and write a page that plays some of its clips."""
    from beam_jobs.inspection import summarise, write_page

    summaries = summarise(folder)
    labels, modes = list(summaries[0].labels), sorted({mode for item in summaries for mode in item.modes})
    print_table(
        f"Dataset {folder}",
        ("split", "clips", *labels, *modes, "speakers", "dBFS", "speech", "MB"),
        [
            (
                item.split,
                str(item.clips),
                *(str(item.labels[label]) for label in labels),
                *(str(item.modes.get(mode, 0)) for mode in modes),
                str(item.speakers),
                f"{item.mean_rms_dbfs:.1f}",
                f"{item.mean_speech_ratio:.0%}",
                f"{item.num_bytes / 1e6:.1f}",
            )
            for item in summaries
        ],
    )
    with progress("drawing the page", 1):
        write_page(folder, str(html), number, seed)
    say(f"next: open {html} in a browser to hear and see {number} clips")
