# SPDX-License-Identifier: Apache-2.0
"""The contract that every component keeps when it runs, on the real artifacts of a small pipeline.

Whatever lies in `components/*/component.py` is held to it without being listed; the tables here hold exceptions.
"""

import importlib
import inspect
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from component_contract import MODULES, component_of, executor_of
from rehearsal import Rehearsal, Step, rehearse
from review_artifacts import write_predictions
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base.base_component import BaseComponent

from beam_jobs.errors import UserError
from components.code_digest import CODE
from components.evaluator.predictions import CANDIDATE

pytestmark = pytest.mark.slow

DECISION = "components.decision.component"

DIFFERS = {
    # The address of the dataset, which is made elsewhere here, and a file of ClipExampleGen, which comes later.
    "components.clip_generator.component": r"dataset|dataset_uri/[0-9a-f]{12}/checked\.json",
    "components.decision.component": r"pushed_model/provenance\.json|serving_uri/.*",  # says when, in its version's number too
    "components.pusher.component": r"pushed_model/provenance\.json|serving_uri/.*",  # as that of Decision
    "components.serving_check.component": r"blessing/serving_check\.json",  # says how long it took
    # TensorFlow counts names through the whole process, and logs have times; the weights are the same.
    "components.trainer.component": r"model/Format-Serving/\w+\.pb(\.tmp\w+)?"
    r"|model_run/(model\.png|training\.log|(train|eval)/events.*)",
}
"""Files that are others each time, by the component; every other file is the same, byte for byte."""


@pytest.fixture(scope="session")
def rehearsal(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    return rehearse(tmp_path_factory.mktemp("rehearsal"), corpus)


@dataclass(frozen=True)
class Again:
    """A step of the rehearsal, and the same step killed in the middle and run again on what that left behind."""

    first: Step
    killed: int
    left: dict[str, int]
    again: Step
    read: set[str]
    """The properties that the executor asked for."""


class Watched(dict[str, Any]):
    """Properties that note which of them are asked for."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        super().__init__(properties)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


@pytest.fixture(scope="module", params=MODULES)
def step(request: pytest.FixtureRequest, rehearsal: Rehearsal) -> Step:
    """A component's step of the rehearsal. A component that is in no pipeline has none, and fails here."""
    return rehearsal.steps[request.param]


@pytest.fixture(scope="module")
def again(step: Step, tmp_path_factory: pytest.TempPathFactory) -> Again:
    folder = tmp_path_factory.mktemp("again")
    properties = {step.writes: str(folder / step.writes)} if step.writes else {}
    if step.module == DECISION:  # it finds a model there that waits
        shutil.copytree(Path(step.properties["serving_uri"]).with_name("serving"), folder / "serving_uri")
    anew = step.again(folder, **properties)
    largest = max((path.stat().st_size for path in step.files().values()), default=0)
    killed = anew.run_and_die(largest // 2) if largest else 0
    left = {name: path.stat().st_size for name, path in anew.files().items()}
    watched = Watched(anew.properties)
    replace(anew, properties=watched).run()
    return Again(step, killed, left, anew, watched.read)


def test_names_in_properties_are_of_functions_that_there_are(step):
    named = [value for value in step.properties.values() if isinstance(value, str) and value.startswith("components.")]

    for path in named:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name)), path


def test_outputs_are_of_the_declared_types_and_say_what_is_documented(again):
    component = component_of(again.first.module)
    declared = component.SPEC_CLASS.OUTPUTS
    outputs = again.first.outputs
    assert {name: channel.type.TYPE_NAME for name, channel in declared.items()} == {
        name: type(artifact).TYPE_NAME for name, (artifact,) in outputs.items()
    }
    if not component.SPEC_CLASS.__module__.startswith("tfx."):
        for properties in again.again.said().values():
            assert properties.keys() - documented_names(component) == set()


def documented_names(component: type[BaseComponent]) -> set[str]:
    """What stands between backticks in the docstring, and the fields of the models that it names there."""
    names = set(re.findall(r"`([\w.]+)`", inspect.getdoc(component) or ""))
    for name in [name for name in names if name.startswith("components.")]:
        module, _, model = name.rpartition(".")
        names |= getattr(getattr(importlib.import_module(module), model, None), "model_fields", {}).keys()
    return names


def test_the_executor_reads_declared_properties_and_no_others(again):
    # The digest of its code each node has without declaring it.
    assert again.read - {CODE} <= component_of(again.first.module).SPEC_CLASS.PARAMETERS.keys()


def test_the_same_inputs_are_found_in_tfx_s_cache(rehearsal):
    """The pipeline was put together anew with `push.mode=review`, which is the Pusher's and a line of the report."""
    assert rehearsal.ran_again == ["ReviewReport", "Pusher"]


def test_killed_in_the_middle_and_run_again_its_output_is_whole_and_the_same(again):
    first, second = again.first, again.again
    if first.files():
        assert again.killed == -signal.SIGXFSZ
        assert again.left != {name: path.stat().st_size for name, path in first.files().items()}

    assert names_of_outputs(second) - {LEFT_BY_TENSORFLOW} == names_of_outputs(first)
    differs = re.compile(DIFFERS.get(first.module, r"(?!)"))
    found, expected = (
        {name: digest for name, digest in step.digests().items() if not differs.fullmatch(name)} for step in (second, first)
    )
    assert found == expected


LEFT_BY_TENSORFLOW = "model/Format-Serving/saved_model.pb.tmp*"
"""Half of a file, which nothing reads, in a folder that TFX would not give to a second attempt."""


def names_of_outputs(step: Step) -> set[str]:
    """The names of files, without the times and process ids of event files and what is drawn by chance."""
    names = (name for name in step.files() if name.split("/")[0] in step.outputs)
    return {re.sub(r"\.tmp\w+$", ".tmp*", re.sub(r"(tfevents)\..*", r"\1", name)) for name in names}


MISTAKES: dict[str, Callable[[Step, Path], Step]] = {
    "clip_example_gen": lambda step, folder: step.again(folder, dataset_uri="/nowhere"),
    "clip_generator": lambda step, folder: step.again(folder, corpus_uri="/nowhere"),
    "data_gate": lambda step, folder: with_anomaly(step, folder),
    "decision": lambda step, folder: step.again(folder, by=" "),
    "evaluator": lambda step, folder: without(step, folder, "model"),
    "gate": lambda step, folder: without_clips(step, folder),
    "import_schema_gen": lambda step, folder: step.again(folder, schema_text="feature {", max_values="{}"),
    "pusher": lambda step, folder: step.again(folder, serving_uri="/dev/null/serving"),
    "review_report": lambda step, folder: step.again(folder, dataset_uri="/nowhere"),
    "robustness": lambda step, folder: without(step, folder, "model"),
    "serving_baseline": lambda step, folder: step.again(folder, serving_uri="/nowhere", version="1"),
    "serving_check": lambda step, folder: without(step, folder, "model"),
    "trainer": lambda step, folder: step.again(folder, custom_config="{}"),
}
"""A mistake that a user can make, by the component; each whose executor documents a UserError has one."""


def without(step: Step, folder: Path, name: str) -> Step:
    step = step.again(folder)
    step.inputs[name][0].uri = str(folder / "nowhere")
    return step


def without_clips(step: Step, folder: Path) -> Step:
    step = without(step, folder, "evaluation")
    (folder / "nowhere").mkdir()
    write_predictions([], {CANDIDATE: np.array([0.5, 0.5])}, folder / "nowhere")
    return step


def with_anomaly(step: Step, folder: Path) -> Step:
    step = without(step, folder, "anomalies")
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info["clip/label"].description = "Value 7\nis out of domain."
    for split in ("train", "eval", "test"):
        path = folder / "nowhere" / f"Split-{split}" / "SchemaDiff.pb"
        path.parent.mkdir(parents=True)
        path.write_bytes(anomalies.SerializeToString())
    return step


def test_a_mistake_is_one_line(step, tmp_path):
    name = step.module.split(".")[1]
    documented = "UserError" in (inspect.getdoc(executor_of(step.module).Do) or "")
    assert (name in MISTAKES) == documented
    if not documented:
        return

    with pytest.raises(UserError) as refused:
        MISTAKES[name](step, tmp_path).run()

    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) > 20
