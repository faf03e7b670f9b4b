# SPDX-License-Identifier: Apache-2.0
"""Which nodes run again when a file changes: the real DAG, its properties made from a copy of the sources, a line changed."""

import shutil
import sys
from pathlib import Path

import pytest

from components.code_digest import CODE, PACKAGES, ROOT, WITHOUT_EFFECT, Project, add_code_digests
from pipeline.config import CONFIGS, load_config
from pipeline.dag import RunContext, create_pipeline


@pytest.fixture(scope="module")
def nodes():
    """Every node that a pipeline can have."""
    config = load_config(CONFIGS / "demo.yaml", ["tune.space={train.learning_rate: [0.001]}", "robustness={}"])
    at = RunContext("clips", "1", "tfx", "serving", "", corpus_uri="corpus", shared_folder="/shared")
    return create_pipeline(config, at).components


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the packages."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def digests(nodes, root: Path) -> dict[str, str]:
    add_code_digests(nodes, root)
    return {node.id: node.exec_properties[CODE] for node in nodes}


def test_every_node_has_a_digest_and_the_place_of_the_checkout_is_no_part_of_it(nodes, sources):
    here = digests(nodes, ROOT)

    assert here.keys() == {node.id for node in nodes}
    assert len(here) == 16 and all(len(digest) == 64 for digest in here.values())
    assert digests(nodes, sources) == here
    for node in nodes:
        assert not any(str(ROOT) in str(value) for value in node.exec_properties.values()), node.id


@pytest.mark.parametrize(
    ("file", "run_again"),
    [
        ("components/gate/decide.py", {"Gate"}),
        ("components/gate/result.py", {"Gate", "ReviewReport", "Pusher"}),
        ("components/gate/robustness.py", {"Gate"}),
        ("components/robustness/psola.py", {"Robustness"}),
        ("components/robustness/measure.py", {"Robustness"}),
        ("components/robustness/scores.py", {"Robustness", "Gate"}),
        ("components/evaluator/slices.py", {"Evaluator", "Gate"}),
        ("components/evaluator/metrics.py", {"Evaluator", "Gate"}),
        ("components/clip_example_gen/executor.py", {"ClipExampleGen"}),
        ("components/clip_generator/executor.py", {"ClipGenerator"}),
        ("components/example_validator/executor.py", {"ClipExampleValidator"}),
        ("components/import_schema_gen/executor.py", {"ImportSchemaGen"}),
        ("components/data_gate/executor.py", {"DataGate"}),
        ("components/transform/preprocessing.py", {"Transform", "Trainer", "Tuner"}),
        ("components/tuner/tuner_fn.py", {"Tuner"}),
        ("components/trainer/training.py", {"Trainer", "Tuner"}),
        ("components/trainer/network/model.py", {"Trainer", "Tuner"}),
        ("components/trainer/worker.py", {"Trainer"}),
        ("components/serving_baseline/executor.py", {"ServingBaseline"}),
        ("components/serving_check/probe.py", {"ServingCheck"}),
        ("components/review_report/charts.py", {"ReviewReport"}),
        ("components/review_report/templates/report.html", {"ReviewReport"}),
        ("components/pusher/serving_folder.py", {"Pusher"}),
        ("components/pusher/versions.py", {"ServingBaseline", "Pusher"}),
        ("components/trained_model.py", {"Evaluator", "ServingCheck", "Robustness", "Pusher"}),
        ("beam_jobs/planning.py", {"ClipGenerator", "ClipExampleGen"}),
        # What reads settings, tells people, carries work, and starts the nodes.
        ("beam_jobs/config.py", set()),
        ("components/trainer/monitoring/logs.py", set()),
        ("components/trainer/workers/kubernetes/log.py", set()),
        ("beam_jobs/console.py", set()),
        ("pipeline/dag.py", set()),
        ("pipeline/run.py", set()),
    ],
)
def test_a_changed_line_runs_exactly_the_nodes_again_that_it_concerns(nodes, sources, file, run_again):
    before = digests(nodes, sources)
    with (sources / file).open("a") as source:
        source.write("\n")

    after = digests(nodes, sources)

    assert {node for node in after if after[node] != before[node]} == run_again


def test_a_new_file_that_nothing_names_concerns_no_node(nodes, sources):
    before = digests(nodes, sources)
    (sources / "components/gate/notes.py").write_text("1\n")

    assert digests(nodes, sources) == before


def test_the_schema_is_in_the_key_by_what_it_says(nodes):
    (schema,) = (node for node in nodes if node.id == "ImportSchemaGen")

    assert schema.exec_properties["schema_text"] == (ROOT / "pipeline/schema/schema.pbtxt").read_text()


@pytest.mark.parametrize("module", ["components.gate.executor", "components.serving_baseline.executor", "beam_jobs.planning"])
def test_what_python_itself_imports_is_needed(module):
    """The referee is Python's own modulefinder, which follows byte code."""
    from modulefinder import ModuleFinder

    libraries = [name for name in sys.modules if name.split(".")[0] not in PACKAGES]
    finder = ModuleFinder([str(ROOT)], excludes=[*libraries, *WITHOUT_EFFECT])
    finder.run_script(str(Project().modules[module]))
    found = {name for name in finder.modules if name.split(".")[0] in PACKAGES}

    assert len(found) > 1
    assert found <= Project().needs(module) | {"components", "beam_jobs"}
