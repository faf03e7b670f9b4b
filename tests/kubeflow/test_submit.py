# SPDX-License-Identifier: Apache-2.0
"""Submitting a compiled pipeline, to a server on the loopback interface."""

import time
from pathlib import Path

import pytest
import yaml
from kubeflow_api import KubeflowApi, Refused, grpc_error

from beam_jobs.errors import UserError
from pipeline.kubeflow import client
from pipeline.kubeflow.client import Kubeflow, connect
from pipeline.kubeflow.submit import submit


def test_a_run_gets_parameters_of_their_types_and_the_packages_own_root(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path
) -> None:
    parameters = {"epochs": "3", "learning_rate": "1e-3", "push_mode": "review"}

    run_id = submit(package, kubeflow, name="night", experiment="voices", service_account="runner", parameters=parameters)

    (run,) = server.runs
    assert (run.run_id, run.display_name, run.service_account) == (run_id, "night", "runner")
    assert run.runtime_config == {
        "parameters": {"epochs": 3, "learning_rate": 0.001, "push_mode": "review"},
        "pipeline_root": "s3://artifacts/runs",
    }
    assert run.experiment_id == server.experiments[0].experiment_id
    assert server.experiments[0].display_name == "voices"


def test_the_same_package_is_uploaded_once(server: KubeflowApi, kubeflow: Kubeflow, package: Path) -> None:
    submit(package, kubeflow)
    submit(package, kubeflow)

    assert len(server.pipelines) == len(server.versions) == len(server.experiments) == 1
    assert package.read_text() in server.versions[0].description
    first, second = (run.pipeline_version_reference for run in server.runs)
    assert first == second == {"pipeline_id": "pipeline-1", "pipeline_version_id": "version-1"}


def test_a_changed_package_is_a_new_version_of_the_same_pipeline(server: KubeflowApi, kubeflow: Kubeflow, package: Path) -> None:
    submit(package, kubeflow)
    package.write_text(package.read_text().replace("defaultValue: 12", "defaultValue: 13"))
    submit(package, kubeflow)

    assert len(server.pipelines) == 1
    assert len({version.name for version in server.versions}) == 2
    assert server.runs[1].pipeline_version_reference["pipeline_version_id"] == "version-2"


def test_with_several_users_all_is_in_the_namespace_of_one(package: Path, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("secret\n")
    with KubeflowApi(multi_user=True) as server:
        kubeflow = connect(server.host, "audio-gender", token_file)
        submit(package, kubeflow)
        submit(package, kubeflow)
        assert [thing.namespace for thing in (*server.pipelines, *server.experiments)] == ["audio-gender", "audio-gender"]
        assert {headers["authorization"] for headers in server.headers} == {"Bearer secret"}
        token_file.write_text("renewed")
        submit(package, kubeflow)
        assert server.headers[-1]["authorization"] == "Bearer renewed"


def test_a_token_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-token: No such file or directory; pass the file that holds a service account"):
        connect("http://127.0.0.1:9", token_file=tmp_path / "no-token")


def test_cookies_are_sent_as_they_are(server: KubeflowApi) -> None:
    connect(server.host, cookies="authservice_session=abc")

    assert server.headers[-1]["Cookie"] == "authservice_session=abc"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"epoch": "3"}, "parameter epoch: this pipeline has no such parameter; it has dataset_uri, epochs, learning_rate"),
        ({"epochs": "three"}, "parameter epochs: 'three' is not a number"),
        ({"epochs": "1.5"}, "parameter epochs: '1.5' is not a number"),
        ({"push_mode": "never"}, "parameter push_mode: 'never' is not one of auto, review"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_uploaded(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, parameters: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        submit(package, kubeflow, parameters=parameters)
    assert not server.pipelines


def test_a_parameter_without_a_default_must_be_given(server: KubeflowApi, kubeflow: Kubeflow, package: Path) -> None:
    spec, platform = yaml.safe_load_all(package.read_text())
    spec["root"]["inputDefinitions"]["parameters"]["by"] = {"parameterType": "STRING", "description": "who decides"}
    package.write_text(yaml.safe_dump_all([spec, platform]))

    with pytest.raises(UserError, match=r"parameter by is required: --set by=… \(who decides\)"):
        submit(package, kubeflow)
    submit(package, kubeflow, parameters={"by": "Alice"})

    assert server.runs[0].runtime_config["parameters"] == {"by": "Alice"}


@pytest.mark.parametrize("text", ["", "a: b\n", "{", "- 1\n"])
def test_a_file_that_is_no_package_is_refused(kubeflow: Kubeflow, tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text)

    with pytest.raises(UserError, match=r"other\.yaml: is not a compiled pipeline"):
        submit(path, kubeflow)


def test_a_missing_package_is_named(kubeflow: Kubeflow, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none\.yaml: No such file or directory; `audio-gender compile --config FILE .* writes it"
    ):
        submit(tmp_path / "none.yaml", kubeflow)


# Refusals


def test_a_host_where_nothing_listens() -> None:
    with KubeflowApi() as server:
        host = server.host

    with pytest.raises(UserError, match=r"not reachable .*; is `kubectl port-forward"):
        connect(host)


@pytest.mark.parametrize("status", [401, 403])
def test_a_user_who_may_not_is_told_what_is_missing(server: KubeflowApi, status: int) -> None:
    server.refuse[""] = grpc_error(status, "User identity is empty in the request header.")

    with pytest.raises(UserError) as caught:
        connect(server.host)

    assert str(caught.value).startswith(f"Kubeflow Pipelines denied the request ({status}: User identity is empty")
    assert "pass --token-file or KF_PIPELINES_COOKIES of a user with access" in str(caught.value)


def test_a_page_to_log_in_is_not_taken_for_kubeflow(server: KubeflowApi) -> None:
    server.refuse[""] = Refused(200, "<html>Log in</html>")

    with pytest.raises(UserError, match=r"answers, but not like Kubeflow Pipelines"):
        connect(server.host)


def test_an_address_that_is_no_kubeflow(server: KubeflowApi) -> None:
    server.refuse[""] = Refused(404, "<html>nothing here</html>")

    with pytest.raises(UserError, match="Kubeflow answered 404: Not Found"):
        connect(server.host)


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/pipelines/upload_version", Refused(400, {"error_message": "invalid spec: name is empty", "error_details": "…"})),
        ("/runs", grpc_error(500, "invalid spec: name is empty")),
    ],
)
def test_a_refused_pipeline_is_one_line_in_kubeflows_words(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, path: str, refused: Refused
) -> None:
    server.refuse[path] = refused

    with pytest.raises(UserError) as caught:
        submit(package, kubeflow)

    assert str(caught.value) == f"{package}: Kubeflow answered {refused.status}: invalid spec: name is empty"


@pytest.mark.parametrize("how", ["silent", "drips"])
def test_a_server_that_gives_no_whole_answer_in_time_is_one_line(
    server: KubeflowApi, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(client, "ANSWER_WITHIN_S", 0.5)
    getattr(server, how).set()
    start = time.monotonic()

    with pytest.raises(UserError, match=rf"^{server.host}: no response within 0\.5 s; is `kubectl port-forward"):
        connect(server.host)

    getattr(server, how).clear()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(("path", "answer"), [("", None), ("/runs", None), ("/pipelines", None), ("/experiments", None)])
def test_an_answer_of_null_is_one_line(server: KubeflowApi, kubeflow: Kubeflow, package: Path, path: str, answer: None) -> None:
    server.refuse[path] = Refused(200, answer)

    with pytest.raises(UserError, match="the response is null, which Kubeflow Pipelines never sends"):
        submit(package, connect(server.host))


def test_a_run_whose_start_was_not_answered_may_be_there(server: KubeflowApi, kubeflow: Kubeflow, package: Path) -> None:
    server.refuse["/runs"] = Refused(200, None)

    with pytest.raises(UserError, match=rf"the run may have started anyway: check {server.host} first$"):
        submit(package, kubeflow)
