"""The console command `audio-gender`."""

import dataclasses
import datetime
import json
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.console import console, progress, say
from beam_jobs.errors import UserError
from pipeline.kubeflow import commands as kubeflow_commands

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From recordings to a gated model.",
)
corpus_app = typer.Typer(no_args_is_help=True, help="Speech corpora.")
clips_app = typer.Typer(no_args_is_help=True, help="Training clips.")
app.add_typer(corpus_app, name="corpus")
app.add_typer(clips_app, name="clips")
app.command("compile")(kubeflow_commands.compile_)
app.command()(kubeflow_commands.submit)

CorpusRoot = Annotated[str, typer.Argument(help="Corpus folder: LibriSpeech, Common Voice, VoxCeleb or utterances.csv.")]
Config = Annotated[Path, typer.Option(help="YAML file, such as pipeline/configs/demo.yaml.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key of the YAML file.")]
WorkFolder = Annotated[Path, typer.Option("--workdir", help="Folder for everything that runs make.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `audio-gender runs` lists it.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result to this file too, for scripts.")]


def main() -> None:
    """Runs the command line; a UserError is one line and exit status 2."""
    try:
        app()
    except UserError as error:
        console.print(f"error: {error}", markup=False, style="red")
        sys.exit(2)


@corpus_app.command("synth")
def corpus_synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    speakers: Annotated[int, typer.Option(min=40, help="Number of speakers, half of them female variants.")] = 40,
    utterances: Annotated[int, typer.Option(min=1, help="Utterances of each speaker.")] = 4,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Speak a corpus with espeak-ng, in LibriSpeech's layout: for smoke tests, not evidence of quality."""
    from beam_jobs.corpus.synthetic import synthesise_corpus

    with progress("speaking", speakers * utterances, "utterances") as advance:
        synthesise_corpus(folder, speakers, utterances, seed, lambda done, total: advance())
    say(f"{speakers} speakers, {speakers * utterances} utterances: {folder}")
    say(f"next: .venv/bin/audio-gender corpus info {folder}")


@corpus_app.command("fetch")
def corpus_fetch(
    subsets: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBSET",
            help="dev-clean, dev-other, test-clean, test-other, train-clean-100, train-clean-360 or train-other-500; "
            "of Mini LibriSpeech dev-clean-2 or train-clean-5.",
        ),
    ],
    dest: Annotated[Path, typer.Option(metavar="DIR", help="Folder to download into; the corpus is DIR/LibriSpeech.")],
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Mirror that holds URL/12/dev-clean.tar.gz; else OpenSLR.")
    ] = None,
) -> None:
    """Download subsets of LibriSpeech; give the same command again to go on where it stopped."""
    from beam_jobs.corpus.fetch import BASE_URL, fetch_subsets

    root = fetch_subsets(subsets, dest, base_url or BASE_URL)
    say(f"next: .venv/bin/audio-gender corpus info {root}")


@corpus_app.command("info")
def corpus_info(
    root: CorpusRoot,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the speaker index to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the figures and histograms to this file.")] = None,
) -> None:
    """Say which layout a corpus has; print speakers, utterances and minutes by label and subset."""
    from beam_jobs.corpus.readers import read_corpus_with_bar, recognise
    from beam_jobs.corpus.summary import by_subset_and_label
    from pipeline.result import print_table

    reader = recognise(root)
    kind = f"{reader.name} ({reader.marker} and {reader.layout})"
    say(f"recognised as {kind}")
    index = read_corpus_with_bar(root)
    print_table(
        f"Corpus {root}",
        ("subset", "label", "speakers", "utterances", "minutes"),
        [
            (group.subset, group.label, str(group.speakers), str(group.utterances), f"{group.minutes:.1f}")
            for group in by_subset_and_label(index)
        ],
        left=2,
    )
    if index.unlabelled:
        say(f"speakers without a usable label, left out ({len(index.unlabelled)}): {_some(index.unlabelled)}")
    if index.unlisted:
        say(f"folders of speakers not in {reader.marker}, left out ({len(index.unlisted)}): {_some(index.unlisted)}")
    for item in index.rejected[:10]:
        console.print(f"unusable, left out: {item.path}: {item.reason}", markup=False)
    if len(index.rejected) > 10:
        say(f"… and {len(index.rejected) - 10} more unusable files (all are in the index: --json FILE)")
    if json_file:
        _write(json_file, index.to_json())
    if html:
        from beam_jobs.corpus.pages import figures_page

        _write(html, figures_page(index, kind), "--html")
        say(f"next: open {html} in a browser")


def _some(names: Sequence[str]) -> str:
    # Common Voice's ids have 128 digits.
    shown = ", ".join(name if len(name) <= 40 else f"{name[:16]}…" for name in names[:10])
    return shown + (", …" if len(names) > 10 else "")


@corpus_app.command("listen")
def corpus_listen(
    root: CorpusRoot,
    number: Annotated[int, typer.Option("-n", min=1, help="Utterances on the page.")] = 10,
    html: Annotated[Path, typer.Option(help="Page to write.")] = Path("corpus.html"),
    seed: Annotated[int, typer.Option(min=0, help="Which utterances are drawn.")] = 0,
) -> None:
    """Write a page with some utterances to hear and to see: waveform and mel spectrogram."""
    from beam_jobs.corpus.readers import read_corpus_with_bar

    index = read_corpus_with_bar(root)
    with progress("drawing the page", 1):
        from beam_jobs.corpus.pages import listening_page

        _write(html, listening_page(index, number, seed), "--html")
    say(f"next: open {html} in a browser to hear and see {number} utterances")


@clips_app.command("generate", context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def clips_generate(
    context: typer.Context,
    config: Config,
    corpus: Annotated[str, typer.Option(help="Corpus root.")],
    output: Annotated[str, typer.Option(help="Dataset folder to make.")],
    settings: Settings = None,
) -> None:
    """Mix clips into a dataset folder; options for Beam follow after `--`."""
    from beam_jobs.corpus.readers import read_corpus_with_bar
    from beam_jobs.files import set_filesystem_options
    from beam_jobs.generate_clips import generate_clips
    from pipeline.config import load_config
    from pipeline.result import print_table

    resolved = load_config(config, settings or ())
    beam_options = context.args or resolved.beam.clips
    set_filesystem_options(beam_options)
    index = read_corpus_with_bar(corpus, resolved.corpus.subsets)
    info = generate_clips(resolved.clips, index, output, beam_options)
    rows = [(split, *(str(counts[name]) for name in info.classes)) for split, counts in info.counts.items()]
    print_table(f"Dataset {output}", ("split", *info.classes), rows)


@clips_app.command("inspect")
def clips_inspect(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Dataset folder.")],
    number: Annotated[int, typer.Option("-n", min=1, help="Clips on the page.")] = 10,
    html: Annotated[Path, typer.Option(help="Page to write.")] = Path("clips.html"),
    seed: Annotated[int, typer.Option(min=0, help="Which clips are drawn.")] = 0,
) -> None:
    """Print a dataset's figures, and write a page that plays some of its clips."""
    from beam_jobs.inspection import summarise, write_page
    from pipeline.result import print_table

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


@app.command()
def run(
    config: Config,
    corpus: Annotated[str | None, typer.Option(help="Corpus root; without it the configuration's synthetic corpus.")] = None,
    workdir: WorkFolder = Path("work"),
    json_file: JsonFile = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was killed, after its last finished epoch.")
    ] = False,
) -> None:
    """Run the whole pipeline: corpus, clips, training, evaluation, push."""
    from pipeline.config import load_config

    resolved = load_config(config, settings or ())
    if json_file:
        _check_writable(json_file)
    from pipeline.result import show
    from pipeline.run import run as run_pipeline

    result = run_pipeline(resolved, corpus, workdir, resume)
    if json_file:
        _write(json_file, result.model_dump_json(indent=1))
    show(result)


@app.command()
def runs(workdir: WorkFolder = Path("work"), json_file: JsonFile = None) -> None:
    """List all runs with their verdicts, from the metadata store."""
    from pipeline.lineage import list_runs
    from pipeline.result import print_table, read_results
    from pipeline.workdir import WorkDir

    folder = WorkDir(workdir.absolute())
    found = list_runs(folder)
    accuracy = {result.run_id: result.metrics["all"]["accuracy"] for result in read_results(folder)}
    if json_file:
        rows = [{**dataclasses.asdict(item), "accuracy": accuracy.get(item.run_id)} for item in found]
        _write(json_file, json.dumps(rows, indent=1))
    print_table(
        f"Runs in {folder.root}",
        ("run", "started", "verdict", "version", "decided by", "accuracy"),
        [
            (
                item.run_id or "-",
                datetime.datetime.fromtimestamp(item.started_ms / 1000).strftime("%Y-%m-%d %H:%M"),
                f"{item.verdict} ({item.note})" if item.note else item.verdict,
                item.pushed_version or "-",
                f"{item.decided_by or '-'}{' (override)' if item.override else ''}",
                f"{accuracy[item.run_id]:.4f}" if accuracy.get(item.run_id) is not None else "-",
            )
            for item in found
        ],
        left=5,
    )
    say(f"in serving: {_in_serving(str(folder.serving))}")


By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides.")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why; kept in the metadata store.")]


@app.command()
def approve(
    run_id: RunId,
    by: By = "",
    note: Note = "",
    override: Annotated[bool, typer.Option("--override", help="Push against the gate; needs a --note.")] = False,
    workdir: WorkFolder = Path("work"),
) -> None:
    """Push the model of a run that waits for approval."""
    from pipeline.decisions import approve as approve_run
    from pipeline.workdir import WorkDir

    result = approve_run(WorkDir(workdir.absolute()), run_id, by, note, override)
    against = ", against the gate" if override else ""
    say(f"pushed: run {run_id} is in serving as version {result.serving_version}, approved by {by}{against}")
    back = f"`.venv/bin/audio-gender rollback --workdir {workdir}`"
    say(f"next: serve {result.folders['serving']} (docs/serving.md); the way back: {back}")


@app.command()
def reject(run_id: RunId, by: By = "", note: Note = "", workdir: WorkFolder = Path("work")) -> None:
    """Record that the model of a run does not go into serving, and why."""
    from pipeline.decisions import reject as reject_run
    from pipeline.workdir import WorkDir

    result = reject_run(WorkDir(workdir.absolute()), run_id, by, note)
    say(f"rejected: run {run_id}, by {by}; in serving is still {_in_serving(result.folders['serving'])}")


@app.command()
def rollback(
    version: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="Without it the one before.")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; else the user of this session.")] = None,
    note: Note = "",
    workdir: WorkFolder = Path("work"),
) -> None:
    """Put an earlier version back into serving, as a new version that is a copy of it."""
    from pipeline.decisions import rollback as roll_back
    from pipeline.workdir import WorkDir

    folder = WorkDir(workdir.absolute())
    decision = roll_back(folder, version, by, note)
    say(f"rolled back to version {decision.rolled_back_to}, by {decision.by}; now in serving: {_in_serving(str(folder.serving))}")


def _in_serving(serving: str) -> str:
    from components.pusher.serving_folder import read_provenance, versions

    found = versions(Path(serving))
    if not found:
        return "no version"
    provenance = read_provenance(Path(serving), found[-1])
    if provenance is None or not provenance.run_id:
        return f"version {found[-1]}, of unknown origin"
    copied = f", a copy of version {provenance.rolled_back_to}" if provenance.rolled_back_to else ""
    return f"version {found[-1]}{copied}, of run {provenance.run_id}"


@app.command()
def review(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Run to review; else the newest.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="RUN", help="Run to compare with; else the model then in serving.")
    ] = None,
    workdir: WorkFolder = Path("work"),
    html: Annotated[Path | None, typer.Option(help="Page to write; else one in the run's report folder.")] = None,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser, where there is a terminal.")
    ] = True,
) -> None:
    """Write the page about a run, alone or beside another, and print what it comes to."""
    from pipeline.workdir import WorkDir

    with progress("drawing the page", 1):
        from pipeline.review import review as write_review

        path = write_review(WorkDir(workdir.absolute()), run, against, html)
    if browser and console.is_terminal:
        webbrowser.open(path.as_uri())


def _check_writable(path: Path) -> None:
    # A run takes minutes to hours: its result must not be lost to a mistyped path at its end.
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written; give another file to --json")


def _write(path: Path, text: str, option: str = "--json") -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another file to {option}") from None
