# SPDX-License-Identifier: Apache-2.0
"""Following a run of Kubeflow, against a server on the loopback interface."""

import base64
import gzip
import json
import signal
import sys
import threading
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest
from kubeflow_api import EPOCH, RUNS_V1, KubeflowApi, Refused, grpc_error

from beam_jobs.errors import UserError
from pipeline import cli
from pipeline.kubeflow.client import Kubeflow, connect
from pipeline.kubeflow.follow import follow
from pipeline.kubeflow.submit import submit

STARTED = datetime(2026, 1, 1, tzinfo=UTC)

Argo = list[dict[str, Any]]
WORKFLOW = "audio-gender-x7k2p"
INSIDE = f"{WORKFLOW}(0).root(0)"


def task(path: str, kind: str, template: str, state: str, start_s: int, end_s: int) -> Argo:
    """Argo's nodes for one task: with a retry strategy, which Kubeflow gives to all, itself and its one attempt."""

    def argo(name: str, kind: str) -> dict[str, Any]:
        return {
            "id": f"{WORKFLOW}-{zlib.crc32(name.encode())}",
            "name": name,
            "displayName": name.rpartition(".")[2],
            "type": kind,
            "templateName": template,
            "phase": state.capitalize(),
            "startedAt": _at(start_s),
            "finishedAt": _at(end_s) if end_s else None,
        }

    return [argo(path, kind)] if state in ("SKIPPED", "OMITTED") else [argo(path, "Retry"), argo(f"{path}(0)", kind)]


def _at(second: int) -> str:
    return (STARTED + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def driver(name: str, state: str, start_s: int, end_s: int) -> Argo:
    path = f"{INSIDE}.{name}-driver" if name != "root" else f"{WORKFLOW}(0).root-driver"
    return task(path, "Pod", f"system-{'dag' if name == 'root' else 'container'}-driver", state, start_s, end_s)


def node(name: str, state: str, start_s: int, end_s: int, pod: str | None = None) -> Argo:
    """What Argo has for one node: its driver, itself, and its pod."""
    path = f"{INSIDE}.{name}"
    return [
        *driver(name, "SUCCEEDED", start_s - 5, start_s - 1),
        *task(path, "DAG", "metadata-0-2-system-container-executor", state, start_s, end_s),
        *task(f"{path}(0).executor", "Pod", "metadata-0-2-system-container-impl", pod or state, start_s, end_s),
    ]


def not_started(name: str, driver_state: str, start_s: int, end_s: int) -> Argo:
    return [*driver(name, driver_state, start_s, end_s), *task(f"{INSIDE}.{name}", "DAG", "", "OMITTED", end_s, end_s)]


def pod_of(nodes: Argo) -> str:
    """Of the last one."""
    return f"{WORKFLOW}-{nodes[-1]['templateName']}-{nodes[-1]['id'].rpartition('-')[2]}"


ROOT = [*task(WORKFLOW, "DAG", "entrypoint", "RUNNING", 0, 0), *driver("root", "SUCCEEDED", 0, 4)]
ROOT += task(f"{WORKFLOW}(0).root", "DAG", "root", "RUNNING", 5, 0)


def becomes(state: str, *nodes: Argo, packed: bool = False) -> Callable[[KubeflowApi, api.V2beta1Run], None]:
    """A step of a run's history. Argo packs what is too large for Kubernetes."""

    def step(server: KubeflowApi, run: api.V2beta1Run) -> None:
        by_id = {one["id"]: one for one in [*ROOT, *(one for group in nodes for one in group)]}
        compressed = base64.b64encode(gzip.compress(json.dumps(by_id).encode())).decode()
        status = {"compressedNodes": compressed} if packed else {"nodes": by_id}
        server.report(run, {"metadata": {"name": WORKFLOW}, "status": status})
        run.state = state
        if state not in ("PENDING", "RUNNING"):
            run.finished_at = run.created_at + timedelta(seconds=300)

    return step


GEN = node("ClipExampleGen", "SUCCEEDED", 10, 52)
STATISTICS = node("StatisticsGen", "SUCCEEDED", 60, 61, pod="SKIPPED")
VALIDATOR = node("ClipExampleValidator", "SUCCEEDED", 60, 85)


def test_a_run_is_followed_with_one_line_a_node(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    running = node("Trainer", "RUNNING", 90, 0)
    trainer = node("Trainer", "SUCCEEDED", 90, 210)
    server.history = [
        becomes("PENDING"),
        becomes("RUNNING", GEN),
        becomes("RUNNING", VALIDATOR, GEN, STATISTICS, running),
        becomes("SUCCEEDED", VALIDATOR, GEN, STATISTICS, running, packed=True),
        becomes("SUCCEEDED", VALIDATOR, GEN, STATISTICS, trainer, packed=True),
    ]
    capsys.readouterr()

    assert follow(kubeflow, run_id, poll_s=0.01)

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"run {run_id}: {server.host}/#/runs/details/{run_id}",
        f"Succeeded: run {run_id}, after 300 s",
    ]
    assert err.splitlines() == [
        "ClipExampleGen           42.0 s",
        "StatisticsGen             1.0 s  cached",
        "ClipExampleValidator     25.0 s",
        "Trainer                 120.0 s",
        f"next: see its results, including the review report: {server.host}/#/runs/details/{run_id}",
    ]


PUSHER = node("Pusher", "SUCCEEDED", 220, 230)


@pytest.mark.parametrize("pages", [True, False], ids=["behind-the-ui", "api"])
@pytest.mark.parametrize(
    "verdict",
    [
        "pushed as version 1795408637",
        "not pushed: accuracy 0.71 is below 0.9; ECE 0.2 is above 0.1",
        "waits for approval: push.mode is review",
    ],
)
def test_what_became_of_the_model_is_said_in_the_words_of_its_own_step(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], verdict: str, pages: bool
) -> None:
    server.pages = pages
    run_id = submit(package, kubeflow)
    server.history = [becomes("SUCCEEDED", GEN, PUSHER)] * 2
    server.logs[pod_of(PUSHER)] = f"I1126 launcher: uploading\nverdict: {verdict}\nI1126 launcher: done\n"
    capsys.readouterr()

    assert follow(kubeflow, run_id, poll_s=0.01)

    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == verdict
    approve = f"`audio-gender submit decision.yaml --set action=approve --set run_id={run_id} --set by=NAME --host {server.host}`"
    assert (approve in err) == verdict.startswith("waits")


@pytest.mark.parametrize("pages", [True, False], ids=["behind-the-ui", "api"])
def test_a_log_that_cannot_be_read_leaves_the_verdict_out(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], pages: bool
) -> None:
    server.pages = pages
    run_id = submit(package, kubeflow)
    server.history = [becomes("SUCCEEDED", GEN, PUSHER)] * 2

    assert follow(kubeflow, run_id, poll_s=0.01)

    assert capsys.readouterr().out.splitlines()[-1] == f"Succeeded: run {run_id}, after 300 s"


def test_a_pod_that_does_not_start_is_said_with_the_schedulers_reason_once(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    waiting = node("Trainer", "RUNNING", 90, 0, pod="PENDING")
    server.history = [becomes("RUNNING", GEN, waiting)] * 6 + [
        becomes("SUCCEEDED", GEN, node("Trainer", "SUCCEEDED", 90, 210))
    ] * 2
    reason = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available."
    server.events[pod_of(waiting)] = [
        {"type": "Warning", "message": "older", "lastTimestamp": "2026-01-01T00:00:01Z"},
        {"type": "Warning", "message": reason, "lastTimestamp": "2026-01-01T00:00:09Z"},
        {"type": "Normal", "message": "TriggeredScaleUp", "lastTimestamp": "2026-01-01T00:00:10Z"},
    ]

    assert follow(kubeflow, run_id, poll_s=0.01, pending_s=0)

    lines = [line for line in capsys.readouterr().err.splitlines() if "is waiting" in line]
    assert lines == [f"Trainer is waiting for its pod to start: {reason}"]


@pytest.mark.parametrize("of_argo", ["", "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."])
def test_behind_the_api_alone_argo_says_why_a_pod_does_not_start_or_else_the_command_that_does_is_named(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], of_argo: str
) -> None:
    run_id = submit(package, kubeflow)
    server.pages = False
    waiting = driver("Trainer", "PENDING", 90, 0)
    waiting[-1]["message"] = of_argo
    server.history = [becomes("RUNNING", waiting)] * 3 + [becomes("SUCCEEDED", GEN)] * 2

    assert follow(kubeflow, run_id, poll_s=0.01, pending_s=0)

    (line,) = [line for line in capsys.readouterr().err.splitlines() if "is waiting" in line]
    command = f"why: `kubectl describe pod -n kubeflow {pod_of(waiting)}`"
    assert line == f"Trainer is waiting for its pod to start: {of_argo or command}"


def test_names_of_nodes_are_no_markup(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    server.history = [becomes("SUCCEEDED", node("[red]Gen[/]", "SUCCEEDED", 10, 52), node("[/nope]", "SUCCEEDED", 10, 53))] * 2

    assert follow(kubeflow, run_id, poll_s=0.01)

    shown = capsys.readouterr().err
    assert "[red]Gen[/]" in shown
    assert "[/nope]" in shown


def test_a_run_that_is_not_followed_says_how_to_follow_it(
    server: KubeflowApi, package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["audio-gender", "submit", str(package), "--host", server.host, "--detach"])
    with pytest.raises(SystemExit) as end:
        cli.main()

    assert not end.value.code
    (run,) = server.runs
    out, err = capsys.readouterr()
    assert out == f"{run.run_id}\n"
    assert err.splitlines()[-1] == f"next: follow it with `audio-gender submit --run {run.run_id} --host {server.host}`"


def test_a_failed_run_names_the_node_and_its_log(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    left_out = not_started("Pusher", "OMITTED", 211, 211)
    server.history = [becomes("FAILED", GEN, node("Trainer", "FAILED", 90, 210), left_out)]
    capsys.readouterr()

    assert not follow(kubeflow, run_id, poll_s=0.01)

    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"Failed: run {run_id}, after 300 s"
    lines = err.splitlines()
    assert lines[1] == "Trainer                 120.0 s  failed"
    pods = f"-n kubeflow -l pipeline/runid={run_id},app.kubernetes.io/component=trainer"
    assert lines[2] == f"Trainer failed; its log: `kubectl logs {pods} -c main --tail=-1 --prefix`"
    assert lines[3] == f"  details of its pod: `kubectl describe pods {pods}`"
    assert lines[4:] == [f"see {server.host}/#/runs/details/{run_id}"]


def test_what_the_launcher_and_argo_say_in_a_failed_nodes_log_is_left_out(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    trainer = node("Trainer", "FAILED", 90, 210)
    # As a pod of Kubeflow 2.17.0 ends.
    server.logs[pod_of(trainer)] = """\
I1127 15:10:20.102938      15 launcher_v2.go:112] prePublish
s3://clips: not a dataset (dataset_info.json is missing)
E1127 15:10:42.294344      15 launcher_v2.go:449] Component failed to execute successfully: exit status 2
I1127 15:10:42.294626      15 launcher_v2.go:867] Executing uploadOutputArtifacts attempt: 1
F1127 15:10:42.413813      15 main.go:59] failed to execute component: exit status 2
time=2026-11-27T15:10:42.843Z level=INFO msg="sub-process exited" argo=true error="exit status 1"
Error: exit status 1
"""
    server.history = [becomes("FAILED", GEN, trainer)]

    assert not follow(kubeflow, run_id, poll_s=0.01)

    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  Trainer: ")]
    lines = server.logs[pod_of(trainer)].splitlines()
    assert shown == [f"  Trainer: {lines[number]}" for number in (1, 2, 4)]


def test_a_node_whose_driver_failed_is_named(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    server.history = [becomes("FAILED", not_started("Gate", "FAILED", 60, 68))]

    assert not follow(kubeflow, run_id, poll_s=0.01)

    assert "Gate failed in its driver, before it started; its log: `kubectl logs -n kubeflow" in capsys.readouterr().err


def test_where_the_root_driver_failed_its_log_is_shown(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    nodes = driver("root", "FAILED", 5, 9)
    server.logs[pod_of(nodes)] = "".join(f"line {number}\n" for number in range(20)) + "KFP driver: failed to get pipeline root\n"
    fails = becomes("FAILED", nodes, task(f"{WORKFLOW}(0).root", "DAG", "root", "OMITTED", 9, 9))
    server.history = [fails, fails]

    assert not follow(kubeflow, run_id, poll_s=0.01)

    shown = capsys.readouterr().err
    assert "  root: KFP driver: failed to get pipeline root\n" in shown
    assert "line 3\n" not in shown
    assert "root failed in its driver, before it started; its log: `kubectl logs -n kubeflow" in shown


@pytest.mark.parametrize(
    ("state", "spec"), [("CANCELED", {}), ("FAILED", {"activeDeadlineSeconds": 0}), ("FAILED", {"shutdown": "Terminate"})]
)
def test_a_run_that_somebody_stopped_is_no_failure_of_a_node(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], state: str, spec: dict[str, Any]
) -> None:
    run_id = submit(package, kubeflow)

    def stopped(server: KubeflowApi, run: api.V2beta1Run) -> None:
        becomes(state, GEN, node("Trainer", "FAILED", 90, 210))(server, run)
        server.workflows[run_id]["spec"] = spec

    server.history = [stopped, stopped, stopped]

    assert not follow(kubeflow, run_id, poll_s=0.01)

    out, err = capsys.readouterr()
    assert f"{state.capitalize()}: run {run_id}" in out
    assert "somebody stopped the run" in err
    assert "its log" not in err


def test_a_run_that_ended_without_a_failed_node_points_to_its_pods(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    server.history = [becomes("FAILED", GEN)]

    assert not follow(kubeflow, run_id, poll_s=0.01)

    out, err = capsys.readouterr()
    assert f"Failed: run {run_id}" in out
    assert f"no node failed; details of the run's pods: `kubectl describe pods -n kubeflow -l pipeline/runid={run_id}`" in err


def test_an_unknown_run(kubeflow: Kubeflow) -> None:
    with pytest.raises(UserError, match=r"run nope: Kubeflow answered 404: .*Run nope not found$"):
        follow(kubeflow, "nope")


@pytest.mark.parametrize(
    ("refused", "goes_on"), [(grpc_error(401, "token expired"), True), (grpc_error(404, "not found"), False)]
)
def test_an_error_in_the_middle_of_following_keeps_what_was_shown_and_is_one_line(
    server: KubeflowApi,
    kubeflow: Kubeflow,
    package: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Refused,
    goes_on: bool,
) -> None:
    run_id = submit(package, kubeflow)
    server.history = [
        becomes("RUNNING"),
        becomes("RUNNING", GEN),
        lambda _, run: server.refuse.update({f"/runs/{run_id}": refused}),
    ]
    capsys.readouterr()

    with pytest.raises(UserError) as caught:
        follow(kubeflow, run_id, poll_s=0.01)

    (line,) = str(caught.value).splitlines()
    assert str(refused.status) in line
    again = f"; the run goes on, follow it again: `audio-gender submit --run {run_id} --host {server.host}`"
    assert line.endswith(again if goes_on else "404: not found; was it deleted?")
    shown = capsys.readouterr().err
    assert shown == "ClipExampleGen           42.0 s\n"
    # And it can be followed again, from the beginning.
    server.refuse.clear()
    server.history = [becomes("SUCCEEDED", GEN, VALIDATOR), becomes("SUCCEEDED", GEN, VALIDATOR)]
    assert follow(kubeflow, run_id, poll_s=0.01)
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()[:2]] == ["ClipExampleGen", "ClipExampleValidator"]


def test_a_lost_connection_says_how_to_follow_again(server: KubeflowApi, kubeflow: Kubeflow, package: Path) -> None:
    run_id = submit(package, kubeflow)
    # The server falls silent after the first look at the run.
    server.history = [becomes("RUNNING"), lambda _, run: server.refuse.update({"": grpc_error(503, "no healthy upstream")})]

    with pytest.raises(UserError) as caught:
        follow(kubeflow, run_id, poll_s=0.01, patience_s=0.1)

    again = f"`audio-gender submit --run {run_id} --host {server.host}`"
    assert (
        str(caught.value)
        == f"run {run_id}: Kubeflow answered 503: no healthy upstream; the run goes on, follow it again: {again}"
    )


@pytest.mark.parametrize(
    "refused", [grpc_error(503, "no healthy upstream"), Refused(429, "slow down"), Refused(502, "<html>"), Refused(200, None)]
)
def test_a_server_that_comes_back_is_waited_for(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    run_id = submit(package, kubeflow)

    def refuse(server: KubeflowApi, run: api.V2beta1Run) -> None:
        raise refused

    server.history = [becomes("RUNNING"), refuse, refuse, refuse, becomes("SUCCEEDED", GEN)]
    capsys.readouterr()

    assert follow(kubeflow, run_id, poll_s=0.01)

    waiting = [line for line in capsys.readouterr().err.splitlines() if "retrying for" in line]
    assert len(waiting) == 1
    assert (f"Kubeflow answered {refused.status}" if refused.body else "the response is null") in waiting[0]


def test_a_server_that_restarts_is_waited_for(kubeflow: Kubeflow, server: KubeflowApi, package: Path) -> None:
    run_id = submit(package, kubeflow)
    server.stop()
    threading.Timer(1.0, server.start).start()
    server.history = [becomes("SUCCEEDED", GEN)]

    assert follow(kubeflow, run_id, poll_s=0.05)


@pytest.mark.parametrize("page", ["<!doctype html><title>Log in</title>", {}], ids=["login", "empty"])
def test_an_answer_that_is_not_the_run_is_no_answer(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], page: Any
) -> None:
    run_id = submit(package, kubeflow)

    def refuse(server: KubeflowApi, run: api.V2beta1Run) -> None:
        raise Refused(200, page)

    server.history = [becomes("RUNNING"), refuse, refuse, becomes("SUCCEEDED", GEN), becomes("SUCCEEDED", GEN)]
    assert follow(kubeflow, run_id, poll_s=0.01)
    assert "is it a login page?" in capsys.readouterr().err

    server.history = [becomes("RUNNING"), becomes("RUNNING"), *[refuse] * 1000]
    with pytest.raises(UserError, match=r"is it a login page\?.*; the run goes on, follow it again"):
        follow(kubeflow, run_id, poll_s=0.01, patience_s=0.1)


def of_attempt(nodes: Argo, number: int, of: str = "root") -> Argo:
    """The same nodes, in another attempt of what is around them. As with Argo, their ids come in no order."""
    names = [one["name"].replace(f"{of}(0)", f"{of}({number})") for one in nodes]
    return [one | {"name": name, "id": f"{WORKFLOW}-{zlib.crc32(name.encode())}"} for one, name in zip(nodes, names, strict=True)]


def test_the_latest_attempt_of_all_nodes_is_the_one_that_counts(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    first = [*GEN, *node("Trainer", "ERROR", 90, 210), *not_started("Pusher", "OMITTED", 211, 211)]
    second = [*node("ClipExampleGen", "SUCCEEDED", 220, 222, pod="SKIPPED"), *node("Trainer", "SUCCEEDED", 230, 330)]
    second = of_attempt([*second, *node("Pusher", "FAILED", 340, 350)], 1)
    # Argo hands them out in the order of their ids, which says nothing: once each way round.
    server.history = [becomes("RUNNING", first), becomes("RUNNING", first), *[becomes("FAILED", second, first)] * 2]

    assert not follow(kubeflow, run_id, poll_s=0.01)

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in lines if "its log" in line] == ["Pusher failed"]
    assert [line for line in lines if line.startswith("Trainer")] == [
        "Trainer                 120.0 s  failed",
        "Trainer                 100.0 s",
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_the_verdict_is_that_of_the_latest_attempt(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], order: int
) -> None:
    run_id = submit(package, kubeflow)
    again = [of_attempt(PUSHER, 1, "executor")[-1] | {"startedAt": _at(240), "finishedAt": _at(250)}]
    server.logs[pod_of(PUSHER)] = "verdict: pushed as version 1\n"
    server.logs[pod_of(again)] = "verdict: not pushed: already in serving\n"
    server.history = [becomes("SUCCEEDED", *[PUSHER, again][::order])] * 2

    assert follow(kubeflow, run_id, poll_s=0.01)

    assert capsys.readouterr().out.splitlines()[-1] == "not pushed: already in serving"


def test_a_log_may_hold_any_bytes(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    server.history = [becomes("SUCCEEDED", GEN, PUSHER)] * 2
    server.logs[pod_of(PUSHER)] = b"reading caf\xe9.wav\nverdict: pushed as version 1\n"

    assert follow(kubeflow, run_id, poll_s=0.01)

    assert capsys.readouterr().out.splitlines()[-1] == "pushed as version 1"


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ('failed: {"error_message":"no bucket"}\n{"error_message":"by the step"}\nthe end\n', 3),
        ('a line\n{"error_message":"Failed to read logs for run"}', 1),
        ("<!DOCTYPE html>\n<title>Kubeflow</title>", 0),
    ],
)
def test_of_a_log_only_what_the_server_adds_is_left_out(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], log: str, shown: int
) -> None:
    run_id = submit(package, kubeflow)
    trainer = node("Trainer", "FAILED", 90, 210)
    server.logs[pod_of(trainer)] = log
    server.history = [becomes("FAILED", GEN, trainer)] * 2

    assert not follow(kubeflow, run_id, poll_s=0.01)

    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  Trainer: ")]
    assert lines == [f"  Trainer: {line}" for line in log.splitlines()[:shown]]


def test_where_one_address_has_a_page_for_a_log_the_other_is_asked(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    server.history = [becomes("SUCCEEDED", GEN, PUSHER)] * 2
    page = f"/apis/v1alpha1/runs/{run_id}/nodes/{pod_of(PUSHER)}/log"
    server.refuse[page] = Refused(200, "<html>\nverdict: of a page\n</html>")
    server.logs[pod_of(PUSHER)] = "verdict: pushed as version 1\n"

    assert follow(kubeflow, run_id, poll_s=0.01)

    assert capsys.readouterr().out.splitlines()[-1] == "pushed as version 1"


OFFLOADED: dict[str, Any] = {"metadata": {"name": WORKFLOW}, "status": {"offloadNodeStatusVersion": "fnv:123"}}
BROKEN = {"metadata": {"name": WORKFLOW}, "status": {"compressedNodes": "not packed"}}
NOT_WHOLE = {"metadata": {"name": WORKFLOW}, "status": {"compressedNodes": base64.b64encode(gzip.compress(b"{}")[:-9]).decode()}}


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED"])
@pytest.mark.parametrize(
    "answer",
    [
        grpc_error(501, "unknown method GetRunV1"),
        grpc_error(500, "received message larger than max"),
        grpc_error(403, "RBAC: access denied"),
        Refused(404, "Not Found"),
        Refused(200, "<html>Log in</html>"),
        *[
            Refused(200, {"pipeline_runtime": {"workflow_manifest": json.dumps(it)}})
            for it in (OFFLOADED, BROKEN, NOT_WHOLE, None)
        ],
    ],
    ids=["501", "500", "403", "404", "page", "offloaded", "broken", "not-whole", "other"],
)
def test_a_run_whose_workflow_cannot_be_read_is_followed_by_its_state(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str], answer: Refused, state: str
) -> None:
    run_id = submit(package, kubeflow)
    server.history = [becomes("RUNNING"), becomes("RUNNING"), becomes("RUNNING"), becomes(state, GEN)]
    server.refuse[RUNS_V1 + run_id] = answer

    assert follow(kubeflow, run_id, poll_s=0.01, patience_s=0.05) == (state == "SUCCEEDED")

    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"{state.capitalize()}: run {run_id}, after 300 s"
    assert err.count("Kubeflow does not say which nodes ran: ") == 1
    assert "no node failed" not in err
    assert err.count("retrying for") <= (answer.status == 500)


def test_a_workflow_without_a_state_has_no_nodes_yet(server: KubeflowApi, kubeflow: Kubeflow, package: Path) -> None:
    run_id = submit(package, kubeflow)
    manifest = json.dumps({"metadata": {"name": WORKFLOW}, "status": None})
    server.refuse[RUNS_V1 + run_id] = Refused(200, {"pipeline_runtime": {"workflow_manifest": manifest}})
    server.history = [becomes("SUCCEEDED")]

    assert follow(kubeflow, run_id, poll_s=0.01)


def test_a_run_that_is_started_again_before_the_last_look_is_followed_on(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)

    def again(server: KubeflowApi, run: api.V2beta1Run) -> None:
        becomes("PENDING", GEN)(server, run)
        run.finished_at = EPOCH

    fails = becomes("FAILED", GEN, node("Trainer", "FAILED", 90, 210))
    server.history = [
        becomes("RUNNING", GEN),
        fails,
        again,
        *[becomes("SUCCEEDED", GEN, node("Trainer", "SUCCEEDED", 220, 290))] * 2,
    ]

    assert follow(kubeflow, run_id, poll_s=0.01)

    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"Succeeded: run {run_id}, after 300 s"
    assert [line.split()[1:] for line in err.splitlines() if line.startswith("Trainer")] == [
        ["120.0", "s", "failed"],
        ["70.0", "s"],
    ]


def test_pods_have_the_names_that_the_argo_of_kubeflow_2_0_gives_them(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)

    def by_id(server: KubeflowApi, run: api.V2beta1Run) -> None:
        becomes("SUCCEEDED", GEN, PUSHER)(server, run)
        server.workflows[run_id]["metadata"]["annotations"] = {"workflows.argoproj.io/pod-name-format": "v1"}

    server.history = [by_id, by_id]
    server.logs[PUSHER[-1]["id"]] = "verdict: pushed as version 1\n"

    assert follow(kubeflow, run_id, poll_s=0.01)

    assert capsys.readouterr().out.splitlines()[-1] == "pushed as version 1"


def test_what_argo_says_of_a_failed_nodes_pod_is_said(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    trainer = node("Trainer", "FAILED", 90, 210)
    trainer[-1]["message"] = "OOMKilled (exit code 137)"
    server.history = [becomes("FAILED", GEN, trainer)] * 2

    assert not follow(kubeflow, run_id, poll_s=0.01)

    assert "\nTrainer failed (OOMKilled (exit code 137)); its log: `kubectl" in capsys.readouterr().err


def test_printed_commands_reach_the_same_kubeflow_as_the_same_user(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    with KubeflowApi(multi_user=True) as server:
        same = ["--host", server.host, "--namespace", "ada", "--token-file", str(token)]
        monkeypatch.setattr(sys, "argv", ["audio-gender", "submit", str(package), *same, "--detach"])
        with pytest.raises(SystemExit):
            cli.main()
        assert capsys.readouterr().err.splitlines()[-1].endswith(f"`audio-gender submit --run run-1 {' '.join(same)}`")

        kubeflow = connect(server.host, "ada", token)
        server.history = [becomes("SUCCEEDED", PUSHER)] * 2
        server.logs[pod_of(PUSHER)] = "verdict: waits for approval: push.mode is review\n"
        assert follow(kubeflow, "run-1", poll_s=0.01)
        assert f"--set by=NAME {' '.join(same)}`" in capsys.readouterr().err

        server.history = [becomes("RUNNING"), lambda _, run: server.refuse.update({"": grpc_error(401, "expired")})]
        with pytest.raises(UserError, match=f"follow it again: `audio-gender submit --run run-1 {' '.join(same)}`"):
            follow(kubeflow, "run-1", poll_s=0.01)


def test_control_c_leaves_the_run_going(
    server: KubeflowApi, kubeflow: Kubeflow, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submit(package, kubeflow)
    server.history = [becomes("RUNNING"), becomes("RUNNING"), lambda _, run: _interrupt()]

    with pytest.raises(KeyboardInterrupt):
        follow(kubeflow, run_id, poll_s=0.2)

    assert server.runs[0].state == "RUNNING"
    assert f"the run goes on; follow it again: `audio-gender submit --run {run_id}" in capsys.readouterr().err


def _interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
