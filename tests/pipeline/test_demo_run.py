# SPDX-License-Identifier: Apache-2.0
"""The demo pipeline from corpus to a pushed or refused model, by the console command, looked at from all sides."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from beam_jobs.examples import Clip, decode_clip, read_records
from pipeline.config import load_config
from pipeline.lineage import artifact_of_run
from pipeline.runs import list_runs
from pipeline.workdir import WorkDir

NODES = [
    "ClipExampleGen",
    "ImportSchemaGen",
    "ServingBaseline",
    "StatisticsGen",
    "ClipExampleValidator",
    "DataGate",
    "Transform",
    "Trainer",
    "Evaluator",
    "Robustness",
    "ServingCheck",
    "Gate",
    "ReviewReport",
    "Pusher",
]
OWN_LINES = "|".join(
    (
        r"run \d{8}-\d{6} in .* \(library output: .*\)",
        r"[A-Z]\w+ +\d+\.\d s(  .*)?",  # a node
        r"  loading TensorFlow and TFX …",
        r"  (speaking the demo corpus|mixing clips|training|degrading test clips): .*",  # progress where there is no terminal
        r"split eval has 2 female speakers, but a clip may hold 3 voices .*",  # of the small demo
        r"next: .*",
    )
)

OWN_RESULT = "|".join(
    (
        r"Test speakers, whom the model never heard .*",
        r"slice +clips +accuracy .*",
        r"(all|\w+=.*) +\d+ +[\d.]+ .* \d+ \d+ \| \d+ \d+",  # a slice
        r"pushed|refused",
        r"  (version \d+: |\d+ of \d+ thresholds hold|no model was in serving before).*",
        r"  (accuracy |calibration error on |(AUC|recall) of ).*",
        r"  \w+ +/.*",  # a folder
    )
)


@pytest.fixture(scope="module")
def test_clips(demo) -> dict[str, tuple[bytes, Clip]]:
    """Records and clips of the test split by clip id."""
    found = {}
    for path in (demo.dataset / "test").glob("*.tfrecord"):
        with path.open("rb") as file:
            for record in read_records(file):
                clip = decode_clip(record)
                found[clip.id] = record, clip
    return found


@pytest.fixture(scope="module")
def predictions(demo, test_clips) -> dict[str, np.ndarray]:
    """What the served model says about each test clip: probabilities by clip id."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(demo.served_model)).signatures["serving_default"]
    answer = serve(tf.constant([record for record, _ in test_clips.values()]))["probabilities"].numpy()
    return dict(zip(test_clips, answer, strict=True))


# The first run: pushed.


def test_the_json_names_run_verdict_and_reason(demo):
    result = demo.first.result

    assert re.fullmatch(r"\d{8}-\d{6}", result["run_id"])
    assert result["verdict"] == "pushed"
    assert result["serving_version"] in result["reason"]
    assert "no model was in serving before" in result["reason"]
    assert (result["baseline_version"], result["classes"]) == (None, ["male", "female"])
    assert result["seconds"] >= sum(node["seconds"] for node in result["nodes"])


def test_the_json_names_all_folders_and_all_are_there(demo):
    folders = demo.first.result["folders"]

    assert set(folders) == {"workdir", "corpus", "dataset", "pipeline_root", "metadata", "serving", "report", "log"}
    assert [path for path in folders.values() if not Path(path).exists()] == []
    assert {path for path in folders.values() if not Path(path).is_relative_to(demo.workdir)} == set()


def test_the_json_holds_metrics_of_every_slice(demo, test_clips):
    metrics = demo.first.result["metrics"]
    clips = [clip for _, clip in test_clips.values()]

    speakers = {f"speakers={len(set(clip.speaker_ids))}" for clip in clips}
    loudness = {f"loudness={6 * (low := int(clip.rms_dbfs // 6))}..{6 * low + 6} dBFS" for clip in clips}
    speech = {f"speech={20 * (low := min(int(clip.speech_ratio * 5), 4))}..{20 * low + 20} %" for clip in clips}
    others = {"all", "label=female", "label=male", "mode=sequential", "mode=simultaneous"}
    # What is the same in all clips cuts them into no groups.
    slices = [names for names in (speakers, loudness, speech) if len(names) > 1]
    assert set(metrics) == others.union(*slices)
    left_out = {name.split("=")[0] for names in (speakers, loudness, speech) if len(names) == 1 for name in names}
    assert set(demo.first.result["same_in_all"]) == left_out
    assert ("the same in all test clips, so no slices: " in demo.first.stdout) == bool(left_out)
    assert metrics["all"]["clips"] == len(clips) == 48
    for values in metrics.values():
        matrix = np.array(values["confusion_matrix"])
        assert matrix.sum() == values["clips"]
        assert matrix.trace() / matrix.sum() == pytest.approx(values["accuracy"])
    assert metrics["label=male"]["auc"] == {"male": None, "female": None}


def test_the_terminal_shows_one_line_a_node_and_what_is_next_and_the_result_is_metrics_verdict_and_folders(demo):
    terminal, result = demo.first.terminal, demo.first.stdout

    places = [terminal.index(f"\n{name} ") for name in ("Corpus", "Clips", *NODES)] + [terminal.index("\nnext: ask the model: ")]
    assert places == sorted(places)
    parts = ("Test speakers", "\nall ", "\npushed\n  version ", f"  serving        {demo.workdir}/serving")
    places = [result.index(part) for part in parts]
    assert places == sorted(places)
    assert [node["node"] for node in demo.first.result["nodes"]] == NODES
    for name in NODES:
        assert len(re.findall(rf"^{name} .*\d s$", terminal, re.MULTILINE)) == 1


@pytest.mark.parametrize("name", ["first", "repeated", "refused"])
def test_library_noise_is_in_the_log_and_not_on_the_terminal(demo, name):
    run = getattr(demo, name)

    assert [line for line in run.stdout.splitlines() if not re.fullmatch(OWN_RESULT, line)] == []
    assert [line for line in run.terminal.splitlines() if not re.fullmatch(OWN_LINES, line)] == []
    log = Path(run.result["folders"]["log"])
    assert "tensorflow" in log.read_text(errors="replace").lower()
    assert f"(library output: {log})" in run.terminal


def test_the_resolved_configuration_is_stored_with_the_run(demo):
    path = Path(demo.first.result["folders"]["report"]) / "config.yaml"
    stored = yaml.safe_load(path.read_text())

    assert stored["train"]["epochs"] == 4
    assert stored["train"]["label_smoothing"] == 0.01  # a default that no file names
    assert load_config(path).model_dump(mode="json") == stored


def test_the_metadata_store_holds_the_run_with_every_node(demo):
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

    store = MetadataStore(WorkDir(demo.workdir).connection())
    run = store.get_context_by_type_and_name("pipeline_run", demo.first.result["run_id"])
    executions = store.get_executions_by_context(run.id)

    names = {kind.id: kind.name.rsplit(".", 1)[-1] for kind in store.get_execution_types()}
    assert sorted(names[execution.type_id] for execution in executions) == sorted(NODES)
    assert {execution.last_known_state for execution in executions} == {metadata_store_pb2.Execution.COMPLETE}


def test_the_lineage_leads_from_the_pushed_model_to_the_dataset(demo):
    workdir, run_id = WorkDir(demo.workdir), demo.first.result["run_id"]
    pushed = artifact_of_run(workdir, run_id, "PushedModel").custom_properties
    examples = artifact_of_run(workdir, run_id, "Examples").custom_properties

    # Relative to the work folder, which may be moved.
    assert workdir.path(pushed["pushed_destination"].string_value) == demo.served_model
    assert workdir.path(examples["dataset_uri"].string_value) == demo.dataset


def test_no_clip_lies_in_the_work_folder_twice(demo):
    dataset, corpus = (
        int(subprocess.run(["du", "-sb", demo.first.result["folders"][name]], capture_output=True, check=True).stdout.split()[0])
        for name in ("dataset", "corpus")
    )

    # Model, graphs, statistics, report, logs: what does not grow with the clips, but for half a kilobyte each. The model, 5 MB,
    # is there twice: made and pushed.
    assert demo.first.disk_bytes - corpus - dataset < 15_000_000
    assert demo.repeated.disk_bytes - demo.first.disk_bytes < 5_000_000
    assert demo.refused.disk_bytes - demo.repeated.disk_bytes < 20_000_000


def test_the_serving_folder_holds_exactly_that_version(demo):
    version = demo.first.result["serving_version"]

    assert {name.split("/")[0] for name in demo.first.serving} == {version, ".lock", ".highest_version"}
    assert f"{version}/saved_model.pb" in demo.first.serving


def test_the_accuracy_on_every_slice_is_that_of_the_served_model(demo, test_clips, predictions):
    classes = demo.first.result["classes"]
    right = {id: int(np.argmax(predictions[id]) == clip.label) for id, (_, clip) in test_clips.items()}
    by_slice: dict[str, list[int]] = {}
    for id, (_, clip) in test_clips.items():
        speakers = len(set(clip.speaker_ids))
        for name in ("all", f"label={classes[clip.label]}", f"mode={clip.mode}", f"speakers={speakers}"):
            by_slice.setdefault(name, []).append(right[id])

    reported = {name: (values["clips"], values["accuracy"]) for name, values in demo.first.result["metrics"].items()}
    for name, values in by_slice.items():
        assert reported[name] == (len(values), pytest.approx(np.mean(values)))


def test_the_auc_is_the_share_of_pairs_that_the_served_model_orders_rightly(demo, test_clips, predictions):
    for label, name in enumerate(demo.first.result["classes"]):
        of_class, of_other = (
            np.array([predictions[id][label] for id, (_, clip) in test_clips.items() if (clip.label == label) is is_it])
            for is_it in (True, False)
        )
        difference = of_class[:, np.newaxis] - of_other[np.newaxis, :]
        share = np.mean((difference > 0) + 0.5 * (difference == 0))
        assert demo.first.result["metrics"]["all"]["auc"][name] == pytest.approx(share, abs=1e-6)


def test_no_test_speaker_is_heard_in_training(demo, test_clips):
    train = set()
    for path in (demo.dataset / "train").glob("*.tfrecord"):
        with path.open("rb") as file:
            train |= {speaker for record in read_records(file) for speaker in decode_clip(record).speaker_ids}

    assert train.isdisjoint(speaker for _, clip in test_clips.values() for speaker in clip.speaker_ids)


# The same again: from the cache.


def test_a_second_run_with_nothing_changed_comes_from_the_cache(demo):
    again = demo.repeated

    assert again.status == 0
    assert [(node["node"], node["cached"]) for node in again.result["nodes"]] == [(name, True) for name in NODES]
    assert "(made before)" in again.terminal
    assert again.terminal.count("cached") == len(NODES)


def test_a_second_run_gives_the_same_result_and_pushes_nothing_anew(demo):
    for key in ("verdict", "reason", "metrics", "serving_version", "baseline_version", "inputs_digest", "classes"):
        assert demo.repeated.result[key] == demo.first.result[key]
    assert demo.repeated.result["run_id"] > demo.first.result["run_id"]
    assert demo.repeated.serving == demo.first.serving


# Thresholds that no such model reaches: refused.


def test_a_model_that_is_not_good_enough_is_refused_with_metric_and_slice(demo):
    result = demo.refused.result

    assert (demo.refused.status, result["verdict"]) == (3, "refused")
    accuracy = result["metrics"]["all"]["accuracy"]
    reasons = result["reason"].split("; ")
    on_accuracy = next(reason for reason in reasons if reason.startswith(f"accuracy on all is {accuracy:.4f}, below 1"))
    on_slices = {
        name: values["accuracy"] for name, values in result["metrics"].items() if values["clips"] >= 10 and name != "all"
    }
    worst = min(on_slices.values())
    named = [f"accuracy on {name}: {worst:.4f})" for name, value in on_slices.items() if value == worst]
    assert on_accuracy.endswith(tuple(named))
    auc = result["metrics"]["all"]["auc"]["female"]
    assert any(re.match(rf"AUC of (fe)?male on all is {auc:.4f}, below 1", reason) for reason in reasons)
    assert "\nrefused\n  " + "\n  ".join(reasons) + "\n" in demo.refused.stdout
    assert "\nnext: train on more or longer clips" in demo.refused.terminal


def test_an_equal_model_counts_as_no_worse_than_the_one_in_serving(demo):
    assert demo.refused.result["baseline_version"] == demo.first.result["serving_version"]
    assert "ServingBaseline" in [node["node"] for node in demo.refused.result["nodes"]]
    assert "below the model now in serving" not in demo.refused.result["reason"]


def test_only_what_the_gate_touches_is_computed_anew(demo):
    anew = {node["node"] for node in demo.refused.result["nodes"] if not node["cached"]}
    assert anew == {"ServingBaseline", "Evaluator", "Robustness", "ServingCheck", "Gate", "ReviewReport", "Pusher"}


def test_a_refused_model_leaves_the_serving_folder_as_it_was(demo):
    assert demo.refused.serving == demo.first.serving
    assert demo.refused.result["serving_version"] == demo.first.result["serving_version"]


# A flipped bit in the dataset: stopped.


def test_a_changed_dataset_is_not_served_from_the_cache_but_stops_the_run(demo):
    lines = demo.damaged.terminal.splitlines()

    assert demo.damaged.status == 2
    assert lines[-1].startswith(f"error: {demo.damaged_shard}: its checksum is not the one in dataset_info.json")
    assert [line for line in lines if line.startswith("ClipExampleGen")] == []
    assert demo.damaged.result == {}


def test_a_stopped_run_leaves_no_examples_and_no_model(demo):
    assert len(list((demo.workdir / "tfx/ClipExampleGen/examples").iterdir())) == 1
    assert demo.damaged.serving == demo.first.serving


# All of them together.


def test_runs_lists_all_with_their_verdicts(demo):
    version = demo.first.result["serving_version"]
    accuracy = demo.first.result["metrics"]["all"]["accuracy"]

    reasons = demo.refused.result["reason"].split("; ")
    verdicts = [(row["verdict"], row["note"], row["pushed_version"], row["accuracy"]) for row in demo.listed_json]
    assert verdicts == [
        ("pushed", "", version, accuracy),
        ("pushed", "", version, accuracy),
        ("refused", f"{reasons[0]} (and {len(reasons) - 1} more)", None, accuracy),
        ("stopped", f"ClipExampleGen: {demo.damaged.terminal.splitlines()[-1].removeprefix('error: ')}", None, None),
        ("waiting", "", None, accuracy),
    ]
    assert [row["run_id"] for row in demo.listed_json[:3]] == [
        run.result["run_id"] for run in (demo.first, demo.repeated, demo.refused)
    ]
    assert demo.listed.returncode == 0
    for row in demo.listed_json:
        assert re.search(rf"^{row['run_id']} .* {row['verdict']} ", demo.listed.stdout, re.MULTILINE)


def test_runs_are_listed_from_the_metadata_store_oldest_first(demo):
    runs = list_runs(WorkDir(demo.workdir))

    assert [run.run_id for run in runs] == [row["run_id"] for row in demo.listed_json]
    assert [run.started_ms for run in runs] == sorted(run.started_ms for run in runs)


def test_corpus_and_clips_are_made_once_and_everything_lies_under_the_work_folder(demo):
    assert len(list((demo.workdir / "corpus").iterdir())) == len(list((demo.workdir / "clips").iterdir())) == 1
    assert {path.name for path in demo.workdir.iterdir()} == {
        ".lock",
        "clips",
        "corpus",
        "index_cache",
        "logs",
        "metadata.db",
        "reports",
        "serving",
        "speaker_index.json",
        "tfx",
    }
