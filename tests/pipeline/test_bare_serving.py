# SPDX-License-Identifier: Apache-2.0
"""The pushed SavedModel in a process that has TensorFlow and none of this project's code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow

# -I -S: no environment variables, no current folder, no .pth files, so that the editable install does not apply.
BARE_PROCESS = """
import io, json, sys, wave
sys.path.append(sys.argv[1])
imported = []
for name in ("beam_jobs", "components", "pipeline"):
    try:
        __import__(name)
        imported.append(name)
    except ImportError:
        pass
import numpy as np, tensorflow as tf

def wav(samples, sample_rate_hz):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(sample_rate_hz)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()

signatures = tf.saved_model.load(sys.argv[2]).signatures
records = [record.numpy() for record in tf.data.TFRecordDataset(sys.argv[3])][:5]
features = {"audio/pcm16": tf.io.FixedLenFeature([], tf.string), "audio/sample_rate": tf.io.FixedLenFeature([], tf.int64)}
clips = tf.io.parse_example(records, features)
pcm = [np.frombuffer(content, "<i2") for content in clips["audio/pcm16"].numpy()]
rate = int(clips["audio/sample_rate"][0])
answers = {
    "examples": signatures["serving_default"](tf.constant(records)),
    "wav": signatures["wav"](tf.constant([wav(samples, rate) for samples in pcm])),
    "longer wav": signatures["wav"](tf.constant([wav(np.tile(pcm[0], 3)[: -rate // 2], rate)])),
    "shorter wav": signatures["wav"](tf.constant([wav(pcm[0][: rate // 3], rate)])),
    "wav at another rate": signatures["wav"](tf.constant([wav(pcm[0][::2], rate // 2)])),
    "waveform": signatures["waveform"](tf.constant(np.stack(pcm) / 32768.0, tf.float32)),
}
words = {name: {key: value.numpy().tolist() for key, value in answer.items()} for name, answer in answers.items()}
modules = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps({"imported": imported, "names": sorted(signatures), "answers": words, "modules": modules},
                 default=bytes.decode))
"""


@pytest.fixture(scope="module")
def bare(demo, tmp_path_factory: pytest.TempPathFactory) -> dict:
    site_packages = Path(tensorflow.__file__).parents[1]
    shard = min((demo.dataset / "test").glob("*.tfrecord"))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BARE_PROCESS, site_packages, demo.served_model, shard],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_none_of_this_project_is_there(bare):
    assert bare["imported"] == []
    assert {"beam_jobs", "components", "pipeline", "kapre", "tensorflow_transform"}.isdisjoint(bare["modules"])


def test_there_are_seven_signatures(bare):
    assert bare["names"] == ["combine", "measured", "serving_default", "timeline", "wav", "waveform", "waveforms"]


@pytest.mark.parametrize(
    ("name", "num_rows"),
    [
        ("examples", 5),
        ("wav", 5),
        ("waveform", 5),
        ("longer wav", 1),
        ("shorter wav", 1),
        ("wav at another rate", 1),
    ],
)
def test_each_answers_with_probabilities_and_the_names_of_the_classes(bare, name, num_rows):
    answer = bare["answers"][name]

    assert answer["classes"] == [["male", "female"]] * num_rows
    assert answer["error"] == [""] * num_rows
    assert len(answer["speech"]) == num_rows
    assert (min(answer["speech"]) >= 0) and (max(answer["speech"]) <= 1)
    assert len(answer["probabilities"]) == num_rows
    for row in answer["probabilities"]:
        assert len(row) == 2
        assert min(row) >= 0
        assert sum(row) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["wav", "waveform"])
def test_the_same_audio_gets_the_same_answer_from_every_signature(bare, name):
    examples, other = bare["answers"]["examples"], bare["answers"][name]
    for row, expected in zip(other["probabilities"], examples["probabilities"], strict=True):
        assert row == pytest.approx(expected, abs=1e-5)
