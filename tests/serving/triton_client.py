# SPDX-License-Identifier: Apache-2.0
"""Asks a KServe v2 server with NVIDIA's own client: `triton_client.py PORT FOLDER [json]`; prints the answer to each WAV file.

Runs in an environment of its own, with tritonclient and none of this project's code.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as kserve

port, folder, binary = sys.argv[1], Path(sys.argv[2]), "json" not in sys.argv
client = kserve.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=300, connection_timeout=300)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("audio-gender")
described = client.get_model_metadata("audio-gender")
files = sorted(folder.glob("*.wav"))
found = {"metadata": described, "answers": []}
for path in files:
    tensor = kserve.InferInput("wav", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([path.read_bytes()], object))  # JSON holds no bytes: the question is always binary
    outputs = [kserve.InferRequestedOutput(one["name"], binary_data=binary) for one in described["outputs"]]
    answer = client.infer("audio-gender", [tensor], outputs=outputs, request_id=path.name)
    assert answer.get_response()["id"] == path.name
    values = {one["name"]: answer.as_numpy(one["name"]).tolist() for one in described["outputs"]}
    found["answers"].append(values)
print(json.dumps(found, default=lambda value: value.decode()))
