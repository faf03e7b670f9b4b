# SPDX-License-Identifier: Apache-2.0
"""The chapter "From an empty cluster to a served model" of docs/kubernetes.md: its blocks, run in one bash."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import argo_workflows
from node_cluster import HERE, Cluster

ROOT = HERE.parents[1]
PAGE = ROOT / "docs/kubernetes.md"
CHAPTER = "## From an empty cluster to a served model\n"
MANIFESTS = '"github.com/kubeflow/pipelines/manifests/kustomize/{}?ref=2.17.0"'
SHARED, STANDALONE = MANIFESTS.format("cluster-scoped-resources"), MANIFESTS.format("env/platform-agnostic")
CODE = [
    *sorted((HERE / "kubeflow").glob("*.py")),
    *(
        ROOT / "tests" / name
        for name in ("kubeflow/driver.py", "kubeflow/launcher.py", "kubeflow/kubeflow_api.py", "kubernetes/api.py")
    ),
]
"""What the small Kubeflow's pods run."""


def blocks() -> list[tuple[str, str]]:
    """Title and commands of each block, as they stand in the page."""
    chapter = PAGE.read_text().partition(CHAPTER)[2].partition("\n## ")[0]
    return re.findall(r"^\*\*\d\. (.+?)\*\*.*?^```bash\n(.+?)^```$", chapter, re.DOTALL | re.MULTILINE)


def instead() -> dict[str, str]:
    """What is run in place of a line: no registry, no image of Kubeflow's and no GitHub can be reached here."""
    definitions, kubeflow = argo_workflows.module() / argo_workflows.DEFINITIONS, HERE / "kubeflow.yaml"
    code = " ".join(f"--from-file={path}" for path in CODE)
    return {
        "kind create cluster": "kubectl get nodes",
        f"kubectl apply -k {SHARED}": f"kubectl apply --server-side -k {definitions}",
        "crd/applications.app.k8s.io": "crd/workflows.argoproj.io",
        f"kubectl apply -k {STANDALONE}": "kubectl create namespace kubeflow\n"
        f"kubectl -n kubeflow create configmap kubeflow-code {code}\nkubectl apply -f {kubeflow}",
        "make image\n": "",
        "kind load docker-image audio-gender:local\n": "",
        f"kubectl delete -k {STANDALONE}": f"kubectl delete -f {kubeflow}",
        f"kubectl delete -k {SHARED}": f"kubectl delete -k {definitions}",
        "kind delete cluster\n": "",
    }


def as_run_here(commands: str) -> str:
    """A block with what is run in place of some lines."""
    for line, other in instead().items():
        commands = commands.replace(line, other)
    return commands


class Terminal:
    """A bash in a folder that looks like the checkout after `make setup`; it ends with what it started.

    The first command that fails ends it. `folder/terminal.log` has what is on its screen.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        for name, target in {"k8s": ROOT / "k8s", ".venv": Path(sys.prefix)}.items():
            (folder / name).symlink_to(target)
        self._folder, self._log = folder, folder / "terminal.log"
        self._bash = subprocess.Popen(
            ["bash", "-eu"],
            cwd=folder,
            env={
                **os.environ,
                "KUBECONFIG": str(cluster.kubeconfig),
                "PATH": f"{cluster.programs['kubectl'].parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "USER": "tests",
            },
            stdin=subprocess.PIPE,
            stdout=self._log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        self._number = 0

    def run(self, commands: str, timeout_s: float) -> str:
        """What is printed by then."""
        self._number += 1
        script, done = self._folder / f"{self._number}.sh", self._folder / f"{self._number}.done"
        script.write_text(commands)
        begin = self._log.stat().st_size
        assert self._bash.stdin
        self._bash.stdin.write(f"source {script} </dev/null; touch {done}\n")
        self._bash.stdin.flush()
        deadline = time.monotonic() + timeout_s
        while not done.exists():
            printed = self._log.read_text()[begin:]
            assert self._bash.poll() is None, f"a command failed; the end of what was printed:\n{printed[-6000:]}"
            assert time.monotonic() < deadline, f"not done after {timeout_s:g} s:\n{commands}\nprinted:\n{printed[-6000:]}"
            time.sleep(0.2)
        return self._log.read_text()[begin:]

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()
