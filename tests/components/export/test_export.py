# SPDX-License-Identifier: Apache-2.0
"""Exported files, opened by the runtimes that they are for."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from commands import call_here, only_line
from untrained import serve_untrained

from beam_jobs.errors import UserError
from components.export.convert import FORMATS, check_packages
from components.export.export import export_model

MISSING = {
    target: [name for name in packages if importlib.util.find_spec(name) is None] for target, (packages, _, _) in FORMATS.items()
}
BOTH = [
    pytest.param(target, marks=pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"))
    for target, missing in MISSING.items()
]


@pytest.fixture(scope="module")
def voices(make_voice, tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    for label in (0, 1):
        soundfile.write(folder / f"{label}.flac", make_voice(label, 70 + label, 16_000, 8000), 8000)
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("target", BOTH)
def test_the_file_answers_as_the_served_model_in_its_own_runtime(target, trained, voices, make_voice, tmp_path):
    made = export_model(Path(trained.serving_model_dir), target, tmp_path / f"voice.{target}", voices)

    run = FORMATS[target][2](made.path.read_bytes())
    served = tf.saved_model.load(trained.serving_model_dir)
    assert made.difference <= 1e-4
    assert (made.classes, made.sample_rate_hz) == (("male", "female"), 8000)
    for number in range(4):
        samples = make_voice(number % 2, 80 + number, 7000 * (number + 1), 8000)
        expected = served.signatures["waveform"](tf.constant(samples[np.newaxis]))
        assert run(samples)["probabilities"] == pytest.approx(expected["probabilities"].numpy()[0], abs=1e-4)
        assert run(samples)["speech"] == pytest.approx(expected["speech"].numpy()[0], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("target", BOTH)
@pytest.mark.parametrize(("architecture", "classes"), [("cnn2d", 2), ("prototype", 3)])
def test_other_architectures_and_the_class_mixed_go_too(target, architecture, classes, voices, tmp_path):
    serve_untrained(architecture, ["male", "female", "mixed"][:classes]).save(str(tmp_path / "7"))

    made = export_model(tmp_path / "7", target, tmp_path / "file", voices)

    assert made.recordings == 7
    assert made.difference <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("target", BOTH)
def test_an_lstm_which_no_converter_writes_rightly_is_refused(target, voices, tmp_path):
    serve_untrained("crnn", ["male", "female"]).save(str(tmp_path / "7"))

    with pytest.raises(UserError, match=r"cannot be converted to ONNX|differs from the served model"):
        export_model(tmp_path / "7", target, tmp_path / "file", voices)

    assert not (tmp_path / "file").exists()


@pytest.mark.skipif(bool(MISSING["onnx"]), reason=f"not installed: {', '.join(MISSING['onnx'])}")
def test_an_onnx_file_is_valid_holds_standard_operators_only_and_says_what_it_is(trained, voices, tmp_path):
    import onnx

    export_model(Path(trained.serving_model_dir), "onnx", tmp_path / "voice.onnx", voices)

    model = onnx.load(tmp_path / "voice.onnx")
    onnx.checker.check_model(model)
    assert {entry.domain for entry in model.opset_import if entry.domain not in ("", "ai.onnx")} <= {"ai.onnx.ml"}
    assert all(node.domain == "" for node in model.graph.node)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert (json.loads(facts["classes"]), facts["sample_rate_hz"]) == (["male", "female"], "8000")


@pytest.mark.parametrize("target", BOTH)
def test_a_file_that_answers_otherwise_is_not_written(target, trained, voices, tmp_path):
    class Other(tf.Module):
        def __init__(self):
            super().__init__()
            self.network = tf.saved_model.load(trained.serving_model_dir)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="waveform")])
        def portable(self, waveform):
            answer = self.network.portable(waveform)
            return answer | {"probabilities": answer["probabilities"] + 2e-4}

    other = Other()
    tf.saved_model.save(other, str(tmp_path / "model"), signatures={"waveform": other.network.signatures["waveform"]})
    (tmp_path / "file").write_text("an earlier export")

    with pytest.raises(UserError, match=r"differs from the served model: `probabilities` of .* by 0\.0002.*nothing was written"):
        export_model(tmp_path / "model", target, tmp_path / "file", voices)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model"]
    assert (tmp_path / "file").read_text() == "an earlier export"


@pytest.mark.parametrize("target", BOTH)
def test_clips_of_a_damaged_dataset_are_one_line(target, trained, shards, tmp_path):
    dataset = shutil.copytree(shards, tmp_path / "clips")
    shard = sorted(dataset.glob("train/*.tfrecord"))[0]
    os.truncate(shard, shard.stat().st_size - 1)

    with pytest.raises(UserError, match=rf"^{shard}: \d+ bytes where .*; give another dataset to --check$"):
        export_model(Path(trained.serving_model_dir), target, tmp_path / "file", [str(dataset)])


def test_a_model_that_is_older_than_export_is_refused(saved_models, voices, tmp_path):
    target = next((target for target, missing in MISSING.items() if not missing), None)
    if target is None:
        pytest.skip("not installed: ai_edge_litert")
    with pytest.raises(UserError, match="older than `export`; train and push it again"):
        export_model(Path(saved_models["no classes"]), target, tmp_path / "file", voices)


@pytest.mark.parametrize("target", MISSING)
def test_what_is_missing_is_said_with_the_command_that_installs_it(target):
    if not MISSING[target]:
        pytest.skip("all is installed")
    with pytest.raises(UserError, match="make setup EXTRAS=export"):
        check_packages(target)


@pytest.mark.parametrize("target", BOTH)
def test_the_command_compares_with_the_recordings_given_and_names_versions_that_are_there(target, trained, voices, tmp_path):
    (tmp_path / "work" / "serving").mkdir(parents=True)
    (tmp_path / "work" / "serving" / "3").symlink_to(trained.serving_model_dir)
    options = ["--to", target, "--workdir", tmp_path / "work", "--check", voices[0], "--output", tmp_path / "file"]

    unknown, done = call_here("export", "4", *options), call_here("export", "3", *options)

    assert unknown.returncode == 2
    assert only_line(unknown).endswith("no version 4; there are 3")
    assert done.returncode == 0
    assert "male, female" in done.stdout
    assert (tmp_path / "file").stat().st_size > 10_000
