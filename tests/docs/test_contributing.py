# SPDX-License-Identifier: Apache-2.0
"""The walks of CONTRIBUTING.md, on the code that stands there: a reader, a component, an architecture."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from beam_jobs.corpus import readers
from beam_jobs.errors import UserError
from components.trainer.config import ModelConfig
from components.trainer.network import architectures
from components.trainer.network.model import build_model

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def code(heading: str) -> list[str]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """Makes a module of a block, under a name that others can import."""

    def make(name: str, source: str) -> ModuleType:
        made = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made)
        exec(compile(source, name, "exec"), made.__dict__)
        return made

    return make


def test_a_reader(module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_tone) -> None:
    (block,) = code("Add a corpus reader")
    timit = module("beam_jobs.corpus.timit", block)
    monkeypatch.setattr(readers, "READERS", (*readers.READERS, timit.READER))
    for speaker, subset in (("FCJF0", "TRAIN"), ("MDAB0", "TEST")):
        for sentence in ("SA1", "SI648"):
            path = tmp_path / "TIMIT" / subset / "DR1" / speaker / f"{sentence}.WAV"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, make_tone(150, 1.0, seed=len(sentence)), 16_000)

    index = readers.read_corpus(tmp_path)

    assert [(speaker.id, speaker.label, len(speaker.utterances)) for speaker in index.speakers] == [
        ("FCJF0", "female", 2),
        ("MDAB0", "male", 2),
    ]
    assert [speaker.id for speaker in readers.read_corpus(tmp_path, ["TEST"]).speakers] == ["MDAB0"]


@pytest.fixture
def statistics(tmp_path: Path) -> Iterator[standard_artifacts.ExampleStatistics]:
    """Statistics of 12 and 3 clips, as StatisticsGen writes them."""
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri, artifact.split_names = str(tmp_path), artifact_utils.encode_split_names(["train", "eval"])
    for split, clips in (("train", 12), ("eval", 3)):
        path = Path(artifact_utils.get_split_uri([artifact], split), "FeatureStats.pb")
        path.parent.mkdir(parents=True)
        written = statistics_pb2.DatasetFeatureStatisticsList(datasets=[{"num_examples": clips}])
        path.write_bytes(written.SerializeToString())
    return artifact


def test_a_component(module, statistics) -> None:
    executor_block, component_block = code("Add a component")
    module("components.split_size", "")
    executor = module("components.split_size.executor", executor_block).Executor()
    made = module("components.split_size.component", component_block)

    node = made.SplitSize(statistics=channel_utils.as_channel([statistics]), min_clips=3)

    assert node.exec_properties == {"min_clips": 3}
    executor.Do({"statistics": [statistics]}, {}, node.exec_properties)
    with pytest.raises(UserError, match=r"^split eval has 3 clips, fewer than 4; generate more$"):
        executor.Do({"statistics": [statistics]}, {}, {"min_clips": 4})


def test_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = code("Add an architecture")
    namespace = dict(vars(architectures))
    exec(compile(block, "cnn1d", "exec"), namespace)
    monkeypatch.setitem(architectures.ARCHITECTURES, "cnn1d", namespace["cnn1d"])
    settings = {"n_fft": 400, "hop_length": 160, "n_mels": 32, "filters": [4, 8, 8, 8], "mel_f_max_hz": 3800}
    model = ModelConfig.model_validate(settings).model_copy(update={"architecture": "cnn1d"})

    network = build_model(model, 16_000, 8_000, 3)
    (probabilities, *_) = [np.asarray(output) for output in network(np.zeros((2, 16_000), np.float32)).values()]

    assert any("block4_conv" in layer.name for layer in network.submodules if hasattr(layer, "name"))
    assert probabilities.shape[0] == 2
