# SPDX-License-Identifier: Apache-2.0
"""The serving check on real SavedModels, good and broken, each in a process of its own."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import pytest
from clip_datasets import reference_to

from beam_jobs.examples import encode_clip
from components.model_digest import MODEL_DIGEST, model_digest
from components.serving_check.check import SIGNATURES, _compare, check_model
from components.serving_check.config import ServingCheckConfig
from components.serving_check.result import ServingCheckResult

CLASSES = ["male", "female"]
BUDGET = ServingCheckConfig()
NAMED = {"serving_default": "examples", "wav": "wav", "timeline": "wav"}


@pytest.fixture(scope="session")
def records(clips) -> list[bytes]:
    return [encode_clip(clip) for clip in clips[:4]]


@pytest.fixture(scope="session")
def half_half() -> np.ndarray:
    return np.full([4, 2], 0.5, np.float32)


@pytest.fixture
def check(tmp_path, records, half_half) -> Callable[..., ServingCheckResult]:
    """A function that saves a model whose signatures do as told, and checks it."""
    import tensorflow as tf

    def answer(size, probabilities=(0.5, 0.5), classes=CLASSES):
        return {
            "probabilities": tf.tile([probabilities], [size, 1]),
            "classes": tf.tile([classes], [size, 1]),
            "thresholds": tf.fill([size, 2], 0.5),
            "label": tf.fill([size], classes[0]),
            "speech": tf.fill([size], 0.7),
            "duration_s": tf.fill([size], 1.5),
            "error": tf.fill([size], ""),
        }

    def run(budget: ServingCheckConfig = BUDGET, **behaviour) -> ServingCheckResult:
        waveform, lengths = tf.TensorSpec([None, None], tf.float32, "waveform"), tf.TensorSpec([None], tf.int64, "lengths")
        kinds = {name: [tf.TensorSpec([None], tf.string, argument)] for name, argument in NAMED.items()}
        kinds |= {"waveform": [waveform], "waveforms": [waveform, lengths]}
        model = tf.Module()
        signatures = {}
        for name, inputs in kinds.items():
            told = behaviour.get(name, lambda size: {})
            changed = told if callable(told) else lambda size, told=told: told

            def serve(value, *_, changed=changed):
                size = tf.shape(value)[0]
                return answer(size, **changed(size))

            function = tf.function(serve, input_signature=inputs)
            signatures[name] = function.get_concrete_function()
        tf.saved_model.save(model, str(tmp_path / "model"), signatures)
        return check_model(str(tmp_path / "model"), records, half_half, CLASSES, budget)

    return run


def test_every_signature_is_asked_and_each_that_is_wrong_is_named(check):
    import tensorflow as tf

    def call_python(size):  # which is not in a SavedModel
        half = tf.numpy_function(lambda: np.array([0.5, 0.5], np.float32), [], tf.float32)
        return {"probabilities": tf.ensure_shape(half, [2])}

    nan = float("nan")
    result = check(serving_default={"probabilities": (nan, nan)}, wav={"classes": ["female", "male"]}, waveform=call_python)

    assert not result.ok
    assert result.reasons[:2] == [
        "signature serving_default answers with NaN or infinity for 4 of 4 clips",
        "signature wav names the classes female, male; expected male, female for every clip",
    ]
    assert result.reasons[2].startswith("signature waveform fails (")


def test_a_model_that_hangs_is_refused_when_its_time_is_over(check):
    import tensorflow as tf

    started = time.monotonic()
    result = check(
        ServingCheckConfig(max_seconds=12),
        serving_default=lambda size: {
            "probabilities": tf.while_loop(lambda p: tf.reduce_sum(p) > 0, lambda p: (tf.abs(p),), [tf.constant([0.5, 0.5])])[0]
        },
    )

    assert result.reasons[0].startswith("did not answer within serving_check.max_seconds 12 (")
    assert len(result.reasons) == 1
    assert time.monotonic() - started < 45


HANG = """
import sys
import numpy as np
from components.serving_check.check import check_model
from components.serving_check.config import ServingCheckConfig
check_model(sys.argv[1], [b""], np.array([[0.5, 0.5]]), ["male", "female"], ServingCheckConfig(max_seconds=600))
"""


def test_whoever_kills_the_check_leaves_no_process_and_no_files(tmp_path):
    # A file that never ends, in place of a model that hangs.
    os.mkfifo(tmp_path / "saved_model.pb")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)}
    check = subprocess.Popen([sys.executable, "-c", HANG, str(tmp_path)], env=environment, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: any("loading the model" in file.read_text() for file in temporary.glob("serving-check-*/stdout")))
        assert probes_in(temporary)
    finally:
        check.kill()
        check.wait()
    wait_for(lambda: not probes_in(temporary) and not list(temporary.iterdir()))


def probes_in(folder: Path) -> list[str]:
    """Command lines of the processes that were started on a file below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(process.read_text().replace("\0", " "))
    return [line for line in found if str(folder) in line and "probe.py" in line]


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_model_that_needs_too_much_memory_is_refused(check):
    import tensorflow as tf

    def fill_memory(size):
        # As much as asked for, in a way that the graph optimiser cannot foresee.
        floats = tf.random.uniform([tf.shape(tf.tile([size], [400_000_000]))[0]])
        return {"probabilities": tf.stack([tf.reduce_min(floats), tf.reduce_max(floats)])}

    result = check(ServingCheckConfig(max_memory_mb=1200), serving_default=fill_memory)

    assert result.reasons == ["needs more memory than serving_check.max_memory_mb 1200 (asking signature serving_default)"]
    assert 1200 < result.peak_memory_mb < 4000


def test_a_model_whose_process_dies_is_refused(check):
    import tensorflow as tf

    def die(size):
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="the end")]):
            return {"probabilities": tf.identity([0.5, 0.5])}

    assert check(wav=die).reasons == ["its process died asking signature wav (signal SIGABRT)"]


def test_a_damaged_model_is_refused(tmp_path, records, half_half):
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    (reason,) = check_model(str(tmp_path), records, half_half, CLASSES, BUDGET).reasons
    assert reason.startswith("cannot be loaded without this project's code (")


# The comparison alone.


def answers(probabilities=((0.9, 0.1), (0.2, 0.8)), classes=(CLASSES, CLASSES), **others) -> dict:
    answer: dict[str, Any] = {"probabilities": [list(row) for row in probabilities], "classes": [list(row) for row in classes]}
    answer |= {"thresholds": [[0.5, 0.5]] * 2, "label": ["", "female"]}
    answer |= {"speech": [0.0, 1.0], "duration_s": [0.5, 60.0], "error": ["", ""]} | others
    return {"load_error": None, "predictions": {name: {"outputs": answer} for name in SIGNATURES}}


@pytest.mark.parametrize(
    ("found", "expected", "reason"),
    [
        (answers(), [[0.9, 0.1], [0.2, 0.8]], None),
        (
            answers(),
            [[0.90002, 0.09998], [0.2, 0.8]],
            "signature serving_default differs from what the pipeline computed by 2e-05",
        ),
        (
            answers(),
            [[0.9, 0.1], [float("nan"), 0.8]],
            "signature serving_default differs from what the pipeline computed by nan",
        ),
        (answers(classes=(CLASSES, CLASSES[::-1])), [[0.9, 0.1], [0.2, 0.8]], "signature serving_default names the classes"),
        (answers(probabilities=((0.9, 0.1),)), [[0.9, 0.1], [0.2, 0.8]], "answers with probabilities of shape [1, 2]"),
        (answers(probabilities=((2.0, -1.0), (0.2, 0.8))), [[2.0, -1.0], [0.2, 0.8]], "answers with invalid probabilities"),
        (answers(probabilities=((float("inf"), 0.1), (0.2, 0.8))), [[0.9, 0.1], [0.2, 0.8]], "NaN or infinity for 1 of 2 clips"),
        (answers(error=["", "too long"]), [[0.9, 0.1], [0.2, 0.8]], "answers with an error for 1 of 2 clips (too long)"),
        (answers(error=[]), [[0.9, 0.1], [0.2, 0.8]], "answers without an error for each clip"),
        (answers(speech=[0.5, float("nan")]), [[0.9, 0.1], [0.2, 0.8]], "a share of speech that is not one number from 0 to 1"),
        (answers(speech=[0.5, 1.1]), [[0.9, 0.1], [0.2, 0.8]], "a share of speech that is not one number from 0 to 1"),
        (answers(speech=0.5), [[0.9, 0.1], [0.2, 0.8]], "a share of speech that is not one number from 0 to 1"),
        (answers(duration_s=[0.0, 1.0]), [[0.9, 0.1], [0.2, 0.8]], "a duration that is not one length of time"),
        (
            answers(label=["", "male"]),
            [[0.9, 0.1], [0.2, 0.8]],
            "the label male where probabilities and decision thresholds say female",
        ),
        (answers(label=["", "male"], thresholds=[[0.1, 0.9]] * 2), [[0.9, 0.1], [0.2, 0.8]], None),
        (answers(thresholds=[[0.1, 0.9]] * 2), [[0.9, 0.1], [0.2, 0.8]], "the label female where probabilities and decision"),
        (
            answers(label=["male", "female"]),
            [[0.9, 0.1], [0.2, 0.8]],
            "the label male where probabilities and decision thresholds say no",
        ),
        (
            answers(label=["", ""]),
            [[0.9, 0.1], [0.2, 0.8]],
            "the label (none) where probabilities and decision thresholds say female",
        ),
        (answers(label=["", "child"]), [[0.9, 0.1], [0.2, 0.8]], "the label child where"),
        (answers(label=["female"]), [[0.9, 0.1], [0.2, 0.8]], "without a label for each clip"),
        (answers(label="female"), [[0.9, 0.1], [0.2, 0.8]], "without a label for each clip"),
        (answers(thresholds=[0.5, 0.5]), [[0.9, 0.1], [0.2, 0.8]], "thresholds that are not one positive number"),
        (answers(thresholds=[[0.0, 1.0]] * 2), [[0.9, 0.1], [0.2, 0.8]], "thresholds that are not one positive number"),
    ],
)
def test_the_answers_are_held_against_what_the_pipeline_computed(found, expected, reason):
    reasons = _compare(found, np.array(expected, np.float32), CLASSES)
    assert reasons == [] if reason is None else reason in reasons[0]


def test_an_answer_without_classes_and_a_missing_signature():
    found = answers()
    found["predictions"]["wav"] = {"outputs": {"probabilities": [[0.9, 0.1], [0.2, 0.8]]}}
    del found["predictions"]["waveform"]
    assert _compare(found, np.array([[0.9, 0.1], [0.2, 0.8]]), CLASSES) == [
        "signature wav answers without classes and thresholds and label and speech and duration_s and error",
        "signature waveform is missing",
    ]


def test_all_signatures_decide_by_the_thresholds_that_were_measured():
    found = answers()
    found["predictions"]["wav"] = {"outputs": found["predictions"]["wav"]["outputs"] | {"thresholds": [[0.4, 0.6]] * 2}}
    (reason,) = _compare(found, np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), CLASSES)
    assert reason == "its signatures decide by different thresholds ((0.4, 0.6) and (0.5, 0.5))"


def test_a_trained_model_passes_and_the_executor_writes_the_result_beside_its_blessing(trained, shards, tmp_path):
    from tfx.types import standard_artifacts

    from beam_jobs.clip_store import write_reference
    from components.clip_example_gen.artifact import Clips
    from components.serving_check.executor import Executor
    from components.serving_check.result import ServingCheckResult

    model, clips, blessing = standard_artifacts.Model(), Clips(), standard_artifacts.InfraBlessing()
    model_run = standard_artifacts.ModelRun()
    model_run.uri = trained.model_run_dir
    model.uri, clips.uri, blessing.uri = str(tmp_path / "model"), str(tmp_path / "clips"), str(tmp_path / "blessing")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/Format-Serving").symlink_to(trained.serving_model_dir)
    model.set_string_custom_property(MODEL_DIGEST, model_digest(Path(trained.serving_model_dir)))
    (tmp_path / "clips").mkdir()
    write_reference(reference_to(shards), clips.uri)

    # The model in serving is a copy, so whatever it takes, the candidate takes as much.
    baseline = standard_artifacts.Model()
    baseline.uri = model.uri
    baseline.set_string_custom_property("serving_version", "7")

    Executor().Do(
        {"model": [model], "clips": [clips], "model_run": [model_run], "baseline_model": [baseline]},
        {"blessing": [blessing]},
        {"classes": '["male", "female"]', "max_memory_mb": 4096, "max_seconds": 300.0},
    )

    result = ServingCheckResult.model_validate_json(Path(blessing.uri, "serving_check.json").read_text())
    assert result.ok, result.reasons
    assert result.max_difference < 1e-6
    assert result.clips == 8
    assert 200 < result.peak_memory_mb < 4096
    assert 0 < result.seconds < 300
    costs = result.costs
    assert (costs.ratios.num_bytes, costs.ratios.parameters) == (1, 1)
    assert 0.5 < costs.ratios.cpu_ms_per_s < 2 and costs.candidate.cpu_ms_per_s > 0 and costs.candidate.latency_ms > 0
    sizes = subprocess.run(["find", trained.serving_model_dir, "-type", "f", "-printf", "%s\\n"], capture_output=True, check=True)
    assert costs.candidate.num_bytes == sum(map(int, sizes.stdout.split()))
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("reasons") == "[]"
