# SPDX-License-Identifier: Apache-2.0
"""`audio-gender corpus`: speech corpora."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beam_jobs.command_line import command
from beam_jobs.console import progress, say, tell
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.left_out import left_out
from beam_jobs.corpus.listing import Labelling
from beam_jobs.corpus.summary import by_subset_and_label
from beam_jobs.paths import local_path
from pipeline.commands.options import (
    CorpusRoot,
    Feedback,
    JsonFile,
    LabelColumn,
    LabelPerRecording,
    SpeakerPattern,
    write,
    write_json,
)
from pipeline.table import print_table

if TYPE_CHECKING:
    from beam_jobs.corpus.checks import Check

NAMED = 10
"""Of each kind of what is left out."""

app = typer.Typer(no_args_is_help=True, help="Speech corpora.")


@app.command("synth")
def corpus_synth(
    folder: Annotated[Path, typer.Argument(parser=local_path, metavar="DIR", help="Folder to make.")],
    speakers: Annotated[int, typer.Option(min=40, help="Number of speakers, half of them female variants.")] = 40,
    utterances: Annotated[int, typer.Option(min=1, help="Utterances of each speaker.")] = 4,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Speak a corpus with espeak-ng, in LibriSpeech's layout: for smoke tests, not evidence of quality."""
    from beam_jobs.corpus.synthetic import synthesise_corpus

    with progress("speaking", speakers * utterances, "utterances") as advance:
        synthesise_corpus(folder, speakers, utterances, seed, lambda done, total: advance())
    say(f"{speakers} speakers, {speakers * utterances} utterances: {folder}")
    say(f"next: `{command('corpus', 'info', folder)}`")


@app.command("fetch")
def corpus_fetch(
    subsets: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBSET",
            help="dev-clean, dev-other, test-clean, test-other, train-clean-100, train-clean-360 or train-other-500; "
            "of Mini LibriSpeech dev-clean-2 or train-clean-5.",
        ),
    ],
    dest: Annotated[
        Path, typer.Option(parser=local_path, metavar="DIR", help="Folder to download into; the corpus is DIR/LibriSpeech.")
    ],
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Mirror that holds URL/12/dev-clean.tar.gz; default: OpenSLR.")
    ] = None,
) -> None:
    """Download subsets of LibriSpeech; give the same command again to go on where it stopped."""
    from beam_jobs.corpus.fetch import BASE_URL, fetch_subsets

    root = fetch_subsets(subsets, dest, base_url or BASE_URL)
    say(f"next: `{command('corpus', 'info', root)}`")


@app.command("info")
def corpus_info(
    root: CorpusRoot,
    json_file: JsonFile = None,
    label_column: LabelColumn = None,
    label_per_recording: LabelPerRecording = False,
    speaker_pattern: SpeakerPattern = None,
    feedback: Feedback = None,
    html: Annotated[
        Path | None,
        typer.Option(parser=local_path, metavar="FILE", help="Write a page with the figures and histograms to this file."),
    ] = None,
) -> None:
    """Say whether a corpus is enough to train with; print speakers, utterances and minutes, faults, and what is left out.

    Of a large corpus 2,000 files are decoded for that, drawn evenly. With --json the speaker index.
    """
    from beam_jobs.corpus.checks import check_recordings
    from beam_jobs.corpus.contents import read_contents
    from beam_jobs.corpus.readers import kind_of, read_corpus_with_bar

    kind, _ = kind_of(root)
    labelling = Labelling(label_column, label_per_recording, speaker_pattern, feedback)
    index = read_corpus_with_bar(root, labelling=labelling)
    shown = write_json(json_file, index.to_json())
    contents = read_contents(index) if shown or html else {}
    checks = check_recordings(index, contents) if shown or html else []
    if shown:
        _show(root, kind, index, checks)
    if any(len(kind.names) > NAMED for kind in left_out(index)):
        say(f"everything that is left out, and why: `{command('corpus', 'info', root, '--json', 'FILE')}`")
    if html:
        from beam_jobs.corpus.digest import corpus_digest
        from beam_jobs.corpus.pages import statistics_page

        write(html, statistics_page(index, kind, corpus_digest(index, contents), checks), "--html")
        say(f"next: open {html} in a browser")


def _show(root: str, kind: str, index: SpeakerIndex, checks: "Sequence[Check]") -> None:
    from beam_jobs.corpus.checks import enough_for_splits

    tell(enough_for_splits(index)[1])
    tell(f"recognised as {kind}")
    print_table(
        f"Corpus {root}",
        ("subset", "label", "speakers", "utterances", "minutes"),
        [
            (group.subset, group.label, str(group.speakers), str(group.utterances), f"{group.minutes:.1f}")
            for group in by_subset_and_label(index)
        ],
        left=2,
    )
    _show_checks(checks)
    for left in left_out(index):
        if left.reasons:
            tell(f"left out: {left.heading}" + (f", the first {NAMED} of them:" if len(left.names) > NAMED else ":"))
            for name in left.names[:NAMED]:
                tell(f"  {name}")
        else:
            tell(f"left out: {left.in_short(NAMED)}")
    if index.other_files:
        tell("other files: " + ", ".join(f"{number:,} {ending}" for ending, number in index.other_files.items()))


def _show_checks(checks: "Sequence[Check]") -> None:
    found = [check for check in checks if check.number]
    if found:
        labels = tuple(found[0].counts)
        print_table(
            "Recordings to look at",
            ("fault", "such as", *labels, "of"),
            [(check.fault, check.example, *(f"{check.counts[label]:,}" for label in labels), f"{check.of:,}") for check in found],
            left=2,
        )
    if checks:
        sound = ", ".join(check.fault for check in checks if not check.number)
        tell(f"looked for and not found: {sound}" if sound else "each fault that was looked for was found")


@app.command("listen")
def corpus_listen(
    root: CorpusRoot,
    label_column: LabelColumn = None,
    label_per_recording: LabelPerRecording = False,
    speaker_pattern: SpeakerPattern = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Utterances on the page.")] = 10,
    html: Annotated[Path, typer.Option(parser=local_path, metavar="FILE", help="Page to write.")] = Path("corpus.html"),
    seed: Annotated[int, typer.Option(min=0, help="Which utterances are drawn.")] = 0,
) -> None:
    """Write a page with some utterances to hear and to see: waveform and mel spectrogram."""
    from beam_jobs.corpus.readers import read_corpus_with_bar

    index = read_corpus_with_bar(root, labelling=Labelling(label_column, label_per_recording, speaker_pattern))
    with progress("drawing the page", 1):
        from beam_jobs.corpus.pages import player_page

        write(html, player_page(index, number, seed), "--html")
    say(f"next: open {html} in a browser to hear and see {number} utterances")
