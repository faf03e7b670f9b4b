# SPDX-License-Identifier: Apache-2.0
"""Through Kubeflow's steps: what was changed since it was measured is pushed by nobody, and what is pushed is signed."""

import json

import pytest
from keys import make_keys, verified_outside


def flip_a_bit(model):
    """Of the weights, which a server would load all the same."""
    path = next((model / "variables").glob("variables.data*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def decide(walk, *settings, **parameters):
    return walk.cluster.kubeflow.run(walk.cluster.compile_decision(*settings), parameters).steps["Decision"]


def served(walk, files_of):
    return {name: content for name, content in files_of(walk.cluster.serving).items() if not name.startswith(".")}


def test_between_evaluator_and_pusher(walk, files_of):
    uri = walk.run.steps["Trainer"].outputs["model"].uri
    before = served(walk, files_of)
    changed = flip_a_bit(walk.cluster.kubeflow.store.path(uri) / "Format-Serving")

    step = walk.again(only={"Pusher"}).steps["Pusher"]

    flip_a_bit(changed.parents[1])
    assert (step.state, step.status) == ("failed", 2)
    assert step.termination_message.endswith("its files were changed after the training; make a new run")
    assert "\n" not in step.termination_message and "Traceback" not in step.log
    assert served(walk, files_of) == before


def test_between_hold_and_approve(walk, files_of):
    run = walk.again(only={"Pusher"}, push_mode="review")
    assert run.steps["Pusher"].outputs["pushed_model"].metadata["waiting"] == 1
    before = served(walk, files_of)
    model = walk.cluster.serving / ".waiting" / run.id / "model"
    flip_a_bit(model)

    approved = decide(walk, action="approve", by="Ada", run_id=run.id, override=1, note="sure")

    assert (approved.state, approved.status) == ("failed", 2)
    assert approved.termination_message.endswith("its files were changed after they were measured; nothing was pushed")
    assert "\n" not in approved.termination_message and "Traceback" not in approved.log
    assert served(walk, files_of) == before
    flip_a_bit(model)
    assert decide(walk, action="reject", by="Ada", run_id=run.id, note="a test").state == "succeeded"


def test_what_the_pusher_and_a_decision_put_into_serving_is_signed(walk, tmp_path, files_of):
    pytest.importorskip("model_signing", reason="the optional package model-signing is not installed")
    keys, volumes = make_keys(tmp_path / "keys"), walk.cluster.volumes
    mounts = [
        {"claim": "audio-gender-serving", "path": f"{volumes}/serving", "nodes": ["ServingBaseline", "Pusher"]},
        {"claim": "audio-gender-training", "path": f"{volumes}/training", "nodes": ["Trainer"]},
        {"secret": "audio-gender-signing", "path": str(tmp_path / "keys"), "nodes": ["Pusher"]},
    ]
    signed = [f"push.private_key={keys.private}", f"kubernetes.volumes={json.dumps(mounts)}"]

    run = walk.again(*signed, only={"Pusher"}, push_mode="review")
    approved = decide(walk, *signed, action="approve", by="Ada", run_id=run.id, override=1, note="the same model, signed")
    version = approved.outputs["pushed_model"].metadata["pushed_version"]

    assert verified_outside(walk.cluster.serving / version, keys.public)
    before = served(walk, files_of)
    unsigned = decide(walk, *signed, action="rollback", by="Ada")
    assert unsigned.status == 2
    assert "it is not signed: there is no assets.extra/model.sig; give another version of" in unsigned.termination_message
    assert served(walk, files_of) == before
