# SPDX-License-Identifier: Apache-2.0
"""The same requests to a real Triton and to `audio-gender serve`, by NVIDIA's own client: the same answers."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
from processes import free_port

CLIENT, SERVER = (Path(__file__).with_name(f"triton_{name}.py") for name in ("client", "server"))


def ask(python, port, folder, *how):
    done = subprocess.run(
        [python, "-I", CLIENT, str(port), folder, *how],
        capture_output=True,
        text=True,
        timeout=600,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_the_same_answers_to_a_hundred_thousandth(trained, triton_python, serve, processes, tmp_path, recordings):
    serving = tmp_path / "serving"
    shutil.copytree(trained.serving_model_dir, serving / "1")
    port, triton_ports = free_port(), [free_port() for _ in range(3)]
    command = [triton_python, SERVER, trained.serving_model_dir, *map(str, triton_ports)]
    processes.start("triton", command, {"PYTHONPATH": "", "LD_LIBRARY_PATH": ""})
    serve(serving, port)

    def triton_is_ready() -> bool:
        url = f"http://127.0.0.1:{triton_ports[0]}/v2/models/audio-gender/ready"
        return subprocess.run(["curl", "-sf", url], capture_output=True).returncode == 0

    processes.wait_until(triton_is_ready, "Triton", 300)
    theirs = ask(triton_python, triton_ports[0], recordings)
    binary, in_json = ask(triton_python, port, recordings), ask(triton_python, port, recordings, "json")

    assert [one["error"] for one in theirs["answers"]] == [[""]] * 8 + [["not a WAV file"]]
    for ours in (binary, in_json):
        assert described(ours) == described(theirs)
        for expected, found in zip(theirs["answers"], ours["answers"], strict=True):
            assert found.keys() == expected.keys()
            assert (found["classes"], found["error"]) == (expected["classes"], expected["error"])
            for name in ("probabilities", "speech", "duration_s"):
                np.testing.assert_allclose(found[name], expected[name], atol=1e-5, rtol=0)


def described(answer):
    """The tensors that a server says its model has."""
    metadata = answer["metadata"]
    return {kind: {one["name"]: (one["datatype"], len(one["shape"])) for one in metadata[kind]} for kind in ("inputs", "outputs")}
