# SPDX-License-Identifier: Apache-2.0
"""Pusher on real artifacts: what may be pushed, by whom, and what the metadata store is told; and a serving folder in a store
without renames, for which TensorFlow's file system in memory stands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from keys import make_keys
from openlineage_server import openlineage_server

from beam_jobs.errors import UserError
from components.alarm import Alarm
from components.model_digest import MODEL_DIGEST, model_digest
from components.pusher import lineage_events
from components.pusher.candidate import place, promote, withdraw_candidate
from components.pusher.pending import pending_candidate, pending_runs
from components.pusher.provenance import Approval, Provenance
from components.pusher.serving_folder import read_provenance, roll_back, versions, withdraw
from components.pusher.trials import Decision, candidate, fate, read_decisions
from components.run_config import config_digest
from components.signing import verify
from pipeline.served import facts

COMPILED = {"train": {"epochs": 2}, "push": {"mode": "review"}}
"""The configuration that a pipeline was compiled with; its run had other values."""


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model" / "Format-Serving"
    (folder / "variables").mkdir(parents=True)
    (folder / "variables/variables.index").write_text("index")
    (folder / "saved_model.pb").write_text("graph")
    return folder


@pytest.fixture
def pusher(tmp_path, model) -> Callable[..., dict]:
    """A function that runs the executor and returns the custom properties of its PushedModel."""
    from tfx.types import standard_artifacts

    from components.pusher.executor import Executor

    def run(
        blessed: bool = True,
        servable: bool = True,
        mode: str = "auto",
        approval: Approval | None = None,
        baseline: str | None = None,
        keep_pending: bool = False,
        trained: str | None = None,
        run_id: str = "20261123-000000",
        private_key: str = "",
        openlineage_url: str = "",
        alarm: Alarm | None = None,
        serving_uri: str = "",
        dataset_uri: str = "",
        run_config: dict = COMPILED,
    ) -> dict:
        candidate, pushed = standard_artifacts.Model(), standard_artifacts.PushedModel()
        candidate.uri, pushed.uri = str(tmp_path / "model"), str(tmp_path / "pushed")
        blessing, check = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
        blessing.set_int_custom_property("blessed", int(blessed))
        check.set_int_custom_property("blessed", int(servable))
        compared = standard_artifacts.Model()
        compared.set_string_custom_property("serving_version", baseline or "")
        candidate.set_string_custom_property("dataset_fingerprint", "d1")
        candidate.set_string_custom_property(MODEL_DIGEST, trained or model_digest(model))
        Executor(Executor.Context(pipeline_run_id=run_id)).Do(
            {
                "model": [candidate],
                "model_blessing": [blessing],
                "infra_blessing": [check],
                "baseline_model": [compared],
            },
            {"pushed_model": [pushed]},
            {
                "serving_uri": serving_uri or str(tmp_path / "serving"),
                "mode": mode,
                "keep": 5,
                "run_config": json.dumps(run_config),
                "epochs": 10,
                "dataset_uri": dataset_uri,
                "approval": approval.model_dump_json() if approval else "",
                "keep_pending": int(keep_pending),
                "private_key": private_key,
                "openlineage_url": openlineage_url,
                "alarm": alarm.model_dump_json() if alarm else "",
            },
        )
        properties = pushed.mlmd_artifact.custom_properties
        return {name: value.string_value or value.int_value for name, value in properties.items()}

    return run


def ada(override: bool = False) -> Approval:
    return Approval(run_id="r1", by="Ada", login="ada@host", note="fine", override=override, code_revision="git:1")


def test_a_blessed_model_is_pushed_with_its_provenance_on_disk_and_in_the_metadata_store(pusher, tmp_path, model):
    properties = pusher()

    (version,) = versions(tmp_path / "serving")
    assert properties["pushed"] == 1
    assert properties["waiting"] == 0
    assert properties["pushed_version"] == str(version)
    assert properties["pushed_destination"] == f"{tmp_path}/serving/{version}"
    stored = read_provenance(tmp_path / "serving", version)
    assert (stored.by, stored.action, stored.run_id, stored.blessed) == ("gate", "pushed", "20261123-000000", True)
    assert stored.dataset_fingerprint == "d1"
    used = {"train": {"epochs": 10}, "push": {"mode": "auto"}}
    assert (stored.config, stored.config_digest) == (used, config_digest(used))
    assert stored.code_revision
    for name in ("by", "login", "action", "run_id", "dataset_fingerprint", "config_digest", "code_revision", "pushed_at"):
        assert properties[name] == getattr(stored, name)
    assert properties["model_digest"] == model_digest(model)


@pytest.mark.parametrize(
    ("told", "waiting"),
    [
        ({"blessed": False}, 0),
        ({"servable": False}, 0),
        ({"blessed": False, "mode": "review"}, 0),
        ({"servable": False, "mode": "review"}, 0),
        ({"mode": "review"}, 1),
    ],
)
def test_what_may_not_be_pushed_is_not(pusher, tmp_path, told, waiting):
    expected = {"pushed": 0, "waiting": waiting, "waiting_for": "push.mode is review" if waiting else 0}
    assert pusher(**told) == expected
    assert not (tmp_path / "serving").exists()


def test_a_model_out_of_a_cache_that_is_in_serving_is_not_pushed_again(pusher, tmp_path, model):
    first = pusher()["pushed_version"]

    again = pusher(baseline=first)

    assert (again["pushed"], again["pushed_version"]) == (1, first)
    (model / "saved_model.pb").write_bytes(b"another")
    assert pusher(baseline=first)["pushed_version"] != first


def test_a_model_in_serving_that_is_not_signed_with_the_key_is_pushed_again(pusher, tmp_path):
    pytest.importorskip("model_signing", reason="the optional package model-signing is not installed")
    keys, serving = [make_keys(tmp_path / name) for name in ("one", "two")], tmp_path / "serving"
    unsigned = pusher()["pushed_version"]

    signed = pusher(baseline=unsigned, private_key=str(keys[0].private))["pushed_version"]
    again = pusher(baseline=signed, private_key=str(keys[0].private))["pushed_version"]
    rotated = pusher(baseline=signed, private_key=str(keys[1].private))["pushed_version"]

    assert unsigned != signed == again != rotated
    verify(serving / signed, keys[0].public)
    verify(serving / rotated, keys[1].public)


def test_a_model_that_was_compared_with_another_than_the_one_in_serving_waits(pusher, tmp_path, model):
    first = pusher()["pushed_version"]
    (model / "saved_model.pb").write_bytes(b"another")
    second = pusher(baseline=first)["pushed_version"]

    properties = pusher(baseline=first)  # as when `second` was put there while the candidate was trained

    assert (properties["pushed"], properties["waiting"]) == (0, 1)
    assert properties["waiting_for"] == f"version {second} is in serving since, and it was compared with {first}"
    assert versions(tmp_path / "serving") == [int(first), int(second)]
    assert pusher(baseline=first, approval=ada(override=True))["pushed"] == 1


def test_a_model_that_was_rolled_back_waits_for_a_person_who_is_told(pusher, tmp_path, model):
    serving = tmp_path / "serving"
    first = pusher()["pushed_version"]
    good = model_digest(model)
    (model / "saved_model.pb").write_text("another")
    second = pusher(baseline=first)["pushed_version"]
    back = roll_back(serving, None, "Ada", "ada@host", "too many false alarms")
    told = f"this model was rolled back by Ada on {back.pushed_at[:10]}: too many false alarms"

    late = pusher(baseline=second)  # it was under way when Ada decided
    weekly = pusher(baseline=str(back.version))

    assert (late["pushed"], late["waiting"]) == (0, 1)
    assert (weekly["pushed"], weekly["waiting"], weekly["waiting_for"]) == (0, 1, told)
    assert pusher(baseline=str(back.version), mode="review")["waiting_for"] == f"{told}, and push.mode is review"
    assert versions(serving) == [int(first), int(second), back.version]
    # Ada changes her mind, and it may come and go as any other.
    approved = pusher(baseline=str(back.version), approval=ada())["pushed_version"]
    assert pusher(baseline=approved)["pushed_version"] == approved
    assert roll_back(serving, None, "Ada", "ada@host", "still").model_digest == good


def test_a_model_that_was_rejected_waits_for_a_person_who_is_told(pusher, tmp_path, model):
    withdraw(tmp_path / "serving", {model_digest(model): "r1"}, "rejected", "Ada", "ada@host", "")
    assert pusher()["waiting_for"].startswith("this model was rejected by Ada on 20")
    (model / "saved_model.pb").write_text("another")
    assert pusher()["pushed"] == 1


def test_a_rollback_over_several_models_withdraws_them_all_but_the_one_that_it_brings_back(pusher, tmp_path, model):
    serving, texts = tmp_path / "serving", ["one", "two", "three", "one"]
    for text in texts:
        (model / "saved_model.pb").write_text(text)
        pusher(baseline=str(versions(serving)[-1]) if versions(serving) else None)
    back = roll_back(serving, versions(serving)[0], "Ada", "ada@host", "")
    waiting = {}
    for text in texts:
        (model / "saved_model.pb").write_text(text)
        waiting[text] = pusher(baseline=str(back.version))["waiting"]
    assert waiting == {"one": 0, "two": 1, "three": 1}


def test_a_list_of_withdrawn_models_that_cannot_be_read_stops_the_push(pusher, tmp_path):
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving/.withdrawn.json").write_text('[{"model_digest": ')
    with pytest.raises(UserError, match=r"\.withdrawn\.json: damaged \(not a list of withdrawn models\); restore it"):
        pusher()
    assert versions(tmp_path / "serving") == []


@pytest.mark.parametrize("told", [{}, {"approval": ada()}, {"mode": "review", "keep_pending": True}, {"blessed": False}])
def test_a_model_that_was_changed_since_it_was_trained_is_not_pushed(pusher, tmp_path, model, told):
    trained = model_digest(model)
    content = bytearray((model / "variables/variables.index").read_bytes())
    content[0] ^= 1
    (model / "variables/variables.index").write_bytes(content)
    with pytest.raises(UserError, match="its files were changed after the training; make a new run"):
        pusher(trained=trained, **told)
    assert not versions(tmp_path / "serving")
    assert pending_runs(tmp_path / "serving") == []


def test_why_a_model_was_retrained_stays_with_it_through_a_wait_and_a_rollback(pusher, tmp_path, model):
    alarm = Alarm(
        version=3, since="2026-11-20", until="2026-11-27", requests=812, reasons=["drift of level"], values={"level": 0.4}
    )
    serving = tmp_path / "serving"
    pusher(mode="review", keep_pending=True, alarm=alarm)
    assert pending_candidate(serving, "20261123-000000")[1].provenance.alarm == alarm

    properties = pusher(alarm=alarm)
    first = versions(serving)[-1]
    (model / "saved_model.pb").write_text("another")
    person = pusher(baseline=str(first))
    back = roll_back(serving, None, "Ada", "ada@host", "")

    assert properties["alarm"] == alarm.text and "alarm" not in person
    assert [read_provenance(serving, version).alarm for version in versions(serving)] == [alarm, None, alarm]
    assert back.version == versions(serving)[-1]


@pytest.mark.parametrize("run_id", ["", "../elsewhere", "a/b", "."])
def test_without_the_id_of_its_run_nothing_is_pushed(pusher, tmp_path, model, run_id):
    wait = {"mode": "review", "keep_pending": True}
    pusher(**wait)
    with pytest.raises(UserError, match=r"set PIPELINE_RUN_ID"):
        pusher(**wait, run_id=run_id)
    assert pending_runs(tmp_path / "serving") == ["20261123-000000"]


def test_a_model_that_a_rollback_brought_back_is_not_pushed_again(pusher, tmp_path, model):
    first = pusher()["pushed_version"]
    graph = (model / "saved_model.pb").read_text()
    (model / "saved_model.pb").write_text("another")
    pusher(baseline=first)
    back = roll_back(tmp_path / "serving", None, "Ada", "ada@host", "too many false alarms")
    (model / "saved_model.pb").write_text(graph)

    again = pusher(baseline=str(back.version))

    assert (again["pushed"], again["pushed_version"], again["action"]) == (1, str(back.version), "rolled back")
    assert versions(tmp_path / "serving")[-1] == back.version


@pytest.mark.parametrize("blessed", [True, False])
def test_an_approved_model_is_pushed_in_the_name_of_who_approved(pusher, tmp_path, blessed):
    properties = pusher(blessed=blessed, mode="review", approval=ada(override=not blessed))

    stored = read_provenance(tmp_path / "serving", int(properties["pushed_version"]))
    assert (stored.action, stored.by, stored.login, stored.note) == ("approved", "Ada", "ada@host", "fine")
    assert (stored.override, stored.blessed) == (not blessed, blessed)
    assert (stored.run_id, stored.code_revision) == ("r1", "git:1")
    assert properties["override"] == int(not blessed)


@pytest.mark.parametrize(
    ("told", "override", "problem"),
    [
        ({"blessed": False}, False, "not blessed"),
        ({"servable": False}, True, "not servable"),
        ({"servable": False}, False, "not servable"),
    ],
)
def test_an_approval_does_not_make_everything_possible(pusher, tmp_path, told, override, problem):
    with pytest.raises(UserError, match=f"run r1: its model is {problem}; nothing was pushed"):
        pusher(**told, mode="review", approval=ada(override))
    assert not (tmp_path / "serving").exists()


def test_in_a_store_without_renames_the_file_that_makes_a_model_comes_last(model, monkeypatch):
    import tensorflow as tf

    from components.pusher.remote_folder import push_remote, versions_remote

    written = []
    copy = tf.io.gfile.copy

    def watched(source: str, target: str, **options: bool) -> None:
        written.append(target)
        copy(source, target, **options)

    monkeypatch.setattr(tf.io.gfile, "copy", watched)
    serving = "ram://serving/audio_gender"
    asked = Provenance(by="gate", login="ada@host", blessed=True)
    assert versions_remote(serving) == []

    pushed = [push_remote(model, serving, asked, keep=1).version for _ in range(3)]

    assert pushed == sorted(set(pushed))
    assert versions_remote(serving) == pushed[1:]
    assert [path.rpartition("/")[2] for path in written] == ["variables.index", "saved_model.pb"] * 3
    newest = f"{serving}/{pushed[-1]}"
    with tf.io.gfile.GFile(f"{newest}/saved_model.pb") as file:
        assert file.read() == "graph"
    with tf.io.gfile.GFile(f"{newest}/assets.extra/provenance.json") as file:
        assert Provenance.model_validate_json(file.read()).version == pushed[-1]


def test_a_model_that_waits_is_kept_where_a_decision_finds_it(pusher, tmp_path, model):
    assert pusher(mode="review", keep_pending=True)["waiting"] == 1
    assert versions(tmp_path / "serving") == []
    kept, candidate = pending_candidate(tmp_path / "serving", "20261123-000000")
    assert model_digest(kept) == model_digest(model)
    assert (candidate.compared_with, candidate.waiting_for) == ("", "push.mode is review")
    assert candidate.provenance.dataset_fingerprint == "d1"


def test_a_refused_model_does_not_wait(pusher, tmp_path):
    assert pusher(blessed=False, mode="review", keep_pending=True)["waiting"] == 0
    assert pending_runs(tmp_path / "serving") == []


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "pushed as version "),
        ({"mode": "review"}, "waits for approval: push.mode is review"),
        ({"blessed": False}, "not pushed: the gate refused the model"),
        ({"servable": False}, "not pushed: the serving check refused the model"),
    ],
)
def test_its_log_says_what_became_of_the_model_in_one_line(pusher, capsys, given, verdict):
    pusher(**given)

    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("verdict: ")]
    assert line.startswith(f"verdict: {verdict}")


def test_a_model_that_is_in_serving_already_is_not_said_to_be_pushed(pusher, capsys):
    version = pusher()["pushed_version"]
    capsys.readouterr()
    pusher(run_id="20261124-000000", baseline=version)

    assert capsys.readouterr().out.startswith("verdict: already in serving, as version ")


def another(model: Path, content: str) -> None:
    (model / "saved_model.pb").write_text(content)


def test_with_push_mode_canary_a_model_becomes_a_candidate_that_model_servers_do_not_see(pusher, tmp_path, model, capsys):
    serving = tmp_path / "serving"
    first = pusher(mode="canary")["pushed_version"]  # there is nothing to compare it with
    another(model, "second")
    capsys.readouterr()
    properties = pusher(mode="canary", run_id="20261124-000000", baseline=first)
    tried = properties.pop("trial_version")

    assert properties == {"pushed": 0, "waiting": 0}
    assert capsys.readouterr().out == f"verdict: on trial, to be version {tried}: a server of {serving} decides\n"
    assert versions(serving) == [int(first)] and candidate(serving) == int(tried) > int(first)
    stored = read_provenance(serving / ".candidate", int(tried))
    assert (stored.run_id, stored.blessed, stored.config["push"]["mode"]) == ("20261124-000000", True, "canary")
    assert fate(serving, int(tried)) is None

    another(model, "third")
    newer = pusher(mode="canary", run_id="20261125-000000", baseline=first)["trial_version"]
    assert candidate(serving) == int(newer)
    assert (fate(serving, int(tried)).outcome, fate(serving, int(tried)).why) == ("superseded", "a newer candidate came")

    another(model, "fourth")
    pushed = pusher(run_id="20261126-000000", baseline=first)["pushed_version"]
    assert candidate(serving) is None and int(pushed) > int(newer)
    assert fate(serving, int(newer)).why == f"version {pushed} came into serving"


def test_a_run_that_makes_the_candidate_once_more_does_not_begin_its_trial_anew(pusher, tmp_path, model, capsys):
    serving = tmp_path / "serving"
    first = pusher(mode="canary")["pushed_version"]
    another(model, "second")
    tried = pusher(mode="canary", run_id="20261124-000000", baseline=first)["trial_version"]
    capsys.readouterr()

    again = pusher(mode="canary", run_id="20261125-000000", baseline=first)  # by a schedule, out of the cache

    assert again == {"pushed": 0, "waiting": 0, "trial_version": tried}
    assert capsys.readouterr().out == f"verdict: on trial, to be version {tried}: a server of {serving} decides\n"
    assert candidate(serving) == int(tried) and fate(serving, int(tried)) is None and not read_decisions(serving)
    known = read_provenance(serving / ".candidate", int(tried))
    assert known.run_id == "20261124-000000"
    # Other settings ask for another trial.
    other = known.model_copy(update={"config": {"push": {"mode": "canary", "canary": {"requests": 20}}}})
    assert place(model, serving, other).version > int(tried)


def test_a_candidate_that_a_server_rolled_back_waits_for_a_person_who_is_told(pusher, tmp_path, model):
    serving = tmp_path / "serving"
    first = pusher(mode="canary")["pushed_version"]
    another(model, "second")
    tried = int(pusher(mode="canary", run_id="20261124-000000", baseline=first)["trial_version"])
    withdraw_candidate(serving, Decision.now(tried, "rolled back", "answers in 9 ms", int(first), 20, "root@pod"))
    assert candidate(serving) is None

    again = pusher(mode="canary", run_id="20261125-000000", baseline=first)

    assert (again["pushed"], again["waiting"]) == (0, 1) and "trial_version" not in again
    assert again["waiting_for"].startswith("this model was rolled back by serve on 20")
    assert again["waiting_for"].endswith(": answers in 9 ms")


def test_what_is_promoted_is_the_very_files_and_more_than_is_kept_goes(pusher, tmp_path, model):
    serving = tmp_path / "serving"
    first = pusher(mode="canary")["pushed_version"]
    another(model, "second")
    tried = int(pusher(mode="canary", baseline=first)["trial_version"])
    decision = Decision.now(tried, "promoted", "agrees", int(first), 200, "root@pod")

    stored = promote(serving, decision)

    assert versions(serving) == [int(first), tried] and candidate(serving) is None
    assert (stored.action, stored.by, stored.login, stored.note) == ("promoted", "serve", "root@pod", "agrees")
    assert read_provenance(serving, tried) == stored and stored.model_digest == model_digest(serving / str(tried))
    assert promote(serving, decision) is None  # another server of the folder was first
    assert [known.outcome for known in read_decisions(serving)] == ["promoted"]


def test_an_object_store_has_no_candidates(pusher):
    with pytest.raises(UserError, match=r"push\.mode canary needs a serving folder on a volume"):
        pusher(mode="canary", serving_uri="ram://models/audio-gender")


def test_the_dataset_of_a_compiled_pipeline_says_which_clips_the_run_had(tmp_path, monkeypatch):
    from beam_jobs.config import ClipsConfig
    from components import run_config

    clips = ClipsConfig.model_validate({"num_clips": {"train": 6, "eval": 6, "test": 6}})
    monkeypatch.setattr(run_config, "read_dataset_info", lambda folder: type("Info", (), {"clips": clips}))
    compiled = json.dumps({**COMPILED, "clips": {}, "kubernetes": {"corpus_uri": "s3://a", "dataset_uri": "s3://b", "env": {}}})

    used = run_config.used_config(compiled, epochs=3, push_mode="auto", dataset_uri="s3://c", corpus_uri="")

    assert used["clips"]["num_clips"] == {"train": 6, "eval": 6, "test": 6}
    assert used["kubernetes"] == {"corpus_uri": "", "dataset_uri": "s3://c", "env": {}}


def test_an_openlineage_server_is_told_which_data_and_code_made_the_version(pusher, tmp_path):
    pytest.importorskip("openlineage", reason="the optional package openlineage-python is not installed")
    with openlineage_server() as (events, url):
        version = pusher(openlineage_url=url)["pushed_version"]

    ((path, event),) = events
    assert (path, event["eventType"], event["job"]["name"]) == ("/api/v1/lineage", "COMPLETE", "push.pushed")
    assert event["inputs"][0]["facets"]["version"]["datasetVersion"] == "d1"
    assert (event["outputs"][0]["name"], event["outputs"][0]["facets"]["version"]["datasetVersion"]) == (
        f"{tmp_path}/serving",
        version,
    )
    facet = event["run"]["facets"]["audio_gender"]
    assert (facet["by"], facet["run_id"], len(facet["config_digest"])) == ("gate", "20261123-000000", 64)


def test_an_openlineage_server_is_told_which_dataset_a_laptop_used(pusher, tmp_path, monkeypatch):
    """Whatever the configuration says of Kubeflow; and the dataset need not be there any more, as for a late approval."""
    pytest.importorskip("openlineage", reason="the optional package openlineage-python is not installed")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    config = COMPILED | {"kubernetes": {"corpus_uri": "s3://corpus", "dataset_uri": "s3://audio-gender/clips"}}
    with openlineage_server() as (events, url):
        version = int(pusher(openlineage_url=url, dataset_uri="clips/0123456789ab", run_config=config)["pushed_version"])

    ((_, event),) = events
    assert event["inputs"][0]["name"] == f"{tmp_path}/work/clips"
    assert event["run"]["facets"]["audio_gender"]["dataset_uri"] == f"{tmp_path}/work/clips/0123456789ab"
    stored = read_provenance(tmp_path / "serving", version)
    assert stored.dataset_uri == f"{tmp_path}/work/clips/0123456789ab" and stored.config["kubernetes"] == config["kubernetes"]
    assert "corpus" not in dict(facts(f"{tmp_path}/serving", stored))


def test_datasets_of_one_folder_are_versions_of_one_dataset_to_an_openlineage_server(tmp_path):
    pytest.importorskip("openlineage", reason="the optional package openlineage-python is not installed")
    with openlineage_server() as (events, url):
        for digest, dataset in (("d1", "s3://clips/demo/0123456789ab"), ("d2", "s3://clips/demo/ba9876543210")):
            config = {"kubernetes": {"corpus_uri": "s3://corpus", "dataset_uri": dataset}}
            made_of = Provenance(by="gate", login="root@pod", dataset_fingerprint=digest, config=config)
            lineage_events.send(url, str(tmp_path), made_of)

    told = [(event["inputs"][0]["name"], event["inputs"][0]["facets"]["version"]["datasetVersion"]) for _, event in events]
    assert told == [("s3://clips/demo", "d1"), ("s3://clips/demo", "d2")]
    (_, newest) = events[-1]
    assert newest["run"]["facets"]["audio_gender"]["dataset_uri"] == "s3://clips/demo/ba9876543210"


def test_an_openlineage_server_that_is_not_there_holds_up_no_push(pusher, capsys):
    pytest.importorskip("openlineage", reason="the optional package openlineage-python is not installed")

    assert pusher(openlineage_url="http://127.0.0.1:9")["pushed"] == 1

    assert "the OpenLineage server at http://127.0.0.1:9 did not accept the event: " in capsys.readouterr().err


def test_without_its_package_nothing_is_pushed_and_the_log_says_what_to_install(pusher, tmp_path, monkeypatch):
    monkeypatch.setattr(lineage_events, "find_spec", lambda name: None)

    with pytest.raises(UserError, match="openlineage-python is not installed; `make setup EXTRAS=lineage` installs it"):
        pusher(openlineage_url="http://127.0.0.1:9")

    assert versions(tmp_path / "serving") == []
