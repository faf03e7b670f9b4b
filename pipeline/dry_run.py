# SPDX-License-Identifier: Apache-2.0
"""`audio-gender run --dry-run`: what a run would do and take. Nothing is written but the user's cache."""

from pathlib import Path

from beam_jobs.console import tell
from beam_jobs.corpus.contents import read_contents
from beam_jobs.corpus.digest import corpus_digest
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import read_corpus_with_bar
from beam_jobs.dataset import INFO_FILE
from beam_jobs.filesystems import set_filesystem_options
from pipeline.config import PipelineConfig
from pipeline.estimate import MEASURED_ON, SYNTH_BYTES, estimate, format_bytes, free_bytes, refuse_if_short
from pipeline.nodes import NODES
from pipeline.run import corpus_root, dataset_folder
from pipeline.workdir import WorkDir


def dry_run(config: PipelineConfig, corpus: str | None, root: Path) -> None:
    """Prints corpus, clips, nodes, bytes and minutes to stdout.

    Raises:
        UserError: no corpus, one that cannot be read, or too little room for the run.
    """
    workdir = WorkDir.at(root)
    index, spoken, corpus_bytes = _corpus(config, corpus, workdir)
    clips, counts = config.clips, config.clips.num_clips
    there = index is not None and _dataset_is_there(config, index, workdir)
    taken = estimate(config, there)
    needed = taken.total_bytes + corpus_bytes
    tell(f"corpus   {spoken}")
    tell(
        f"clips    {counts.train} train + {counts.eval} eval + {counts.test} test of {clips.duration_s:g} s at "
        f"{clips.sample_rate_hz} Hz" + (", made by an earlier run" if there else "")
    )
    tell(f"nodes    {', '.join(_nodes(config))}")
    tell("         which of them come from the cache is known only when they run")
    parts = [
        (corpus_bytes, "corpus"),
        (taken.clips, "clips"),
        (taken.cache, "cache of the training"),
        (taken.other, "model, statistics and reports"),
    ]
    free = free_bytes(workdir.root)
    tell(
        f"needed   {'up to ' if there else ''}{format_bytes(needed)}: "
        + ", ".join(f"{format_bytes(size)} {what}" for size, what in parts if size)
    )
    tell(f"free     {format_bytes(free)} in {workdir.root}" + (", which may be too little" if needed > free else ""))
    minutes = taken.seconds / 60
    time = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    tell(f"time     roughly {time} on {MEASURED_ON}, if training does not stop early")
    if not there:
        refuse_if_short(needed, workdir.root)


def _corpus(config: PipelineConfig, corpus: str | None, workdir: WorkDir) -> tuple[SpeakerIndex | None, str, int]:
    root, synth = corpus_root(config, corpus, workdir), config.corpus.synth
    if corpus is None and synth is not None and not Path(root).exists():
        utterances = synth.num_speakers * synth.utterances_per_speaker
        return (
            None,
            f"{synth.num_speakers} speakers, {utterances} utterances, to be spoken by espeak-ng",
            utterances * SYNTH_BYTES,
        )
    set_filesystem_options(config.beam.clips)
    # Without a cache, which would be written.
    index = read_corpus_with_bar(root, config.corpus.subsets, labelling=config.corpus.labelling)
    index = index.with_labels(config.clips.labels)
    minutes = sum(speaker.duration_s for speaker in index.speakers) / 60
    return index, f"{len(index.speakers)} speakers, {minutes:.0f} min of speech in {root}", 0


def _dataset_is_there(config: PipelineConfig, index: SpeakerIndex, workdir: WorkDir) -> bool:
    return dataset_folder(config, corpus_digest(index, read_contents(index)), workdir).joinpath(INFO_FILE).exists()


def _nodes(config: PipelineConfig) -> list[str]:
    sections = {"Tuner": config.tune, "Robustness": config.robustness}
    left_out = {"ClipGenerator", *(node for node, section in sections.items() if section is None)}
    return [node for node in NODES if node not in left_out]
