# SPDX-License-Identifier: Apache-2.0
"""Recordings that are replaced under their names, by others of the same length, are mixed into clips of their own."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import CONFIG

from beam_jobs.corpus.contents import read_contents
from beam_jobs.corpus.digest import corpus_digest
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.generate_clips import generate_clips
from pipeline.config import load_config
from pipeline.dry_run import dry_run
from pipeline.run import dataset_folder
from pipeline.workdir import WorkDir


def test_a_run_takes_no_clips_that_were_made_of_what_a_recording_was_before(
    own_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    config, workdir = load_config(tmp_path / "config.yaml"), WorkDir.at(tmp_path / "work")
    index = read_corpus(own_corpus)
    folder = dataset_folder(config, corpus_digest(index, read_contents(index)), workdir)
    generate_clips(config.clips, index, str(folder), config.beam.clips)
    dry_run(config, str(own_corpus), workdir.root)
    assert "made by an earlier run" in capsys.readouterr().out

    path = own_corpus / next(index.utterances()).path
    noise = 0.1 * np.random.default_rng(0).standard_normal(soundfile.info(path).frames)
    soundfile.write(path, noise, 16_000, subtype="PCM_16")

    assert read_corpus(own_corpus).fingerprint() == index.fingerprint()
    dry_run(config, str(own_corpus), workdir.root)
    assert "made by an earlier run" not in capsys.readouterr().out
