# SPDX-License-Identifier: Apache-2.0
"""What is in the image, and what it does by hand: read-only, as user 1000, with a volume at /tmp and no network."""

import json
import os
import re
import subprocess
import zipfile

import pytest
from engine import REVISION
from oci import ROOT

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_IMAGE") != "1", reason="needs root, buildah, runc, mmdebstrap and 6 minutes: make test-image"
)

IMPORT_ALL = """
import importlib, json, pkgutil
names = []
for top in ("beam_jobs", "components", "pipeline"):
    names.append(top)
    names += [module.name for module in pkgutil.walk_packages(importlib.import_module(top).__path__, top + ".")]
for name in names:
    if not name.endswith(".__main__"):  # which is a command, and runs
        importlib.import_module(name)
print(json.dumps(names))
"""
DISTRIBUTIONS = """
import importlib.metadata, json
print(json.dumps([[one.name, one.version] for one in importlib.metadata.distributions()]))
"""
DECODE = """
from beam_jobs.audio import read_audio
samples, rate = read_audio("/tmp/tone.m4a")
print(rate, len(samples), abs(samples).max() > 0.1)
"""


def last_line(output: str) -> str:
    return output.splitlines()[-1]


def test_it_says_what_it_can_do(run):
    status, output = run()

    assert status == 0
    assert "Usage: audio-gender" in output


def test_its_configuration(image):
    environment = dict(variable.split("=", 1) for variable in image.config["Env"])

    assert image.config["User"] == "1000:1000"
    assert image.config["WorkingDir"] == "/app"
    assert (environment["HOME"], environment["CODE_REVISION"]) == ("/tmp", REVISION)
    assert image.config["Labels"]["org.opencontainers.image.revision"] == REVISION


def test_it_cannot_be_written_to(run):
    status, output = run(
        "sh", "-c", "id -u; touch /tmp/a && for f in / /app /opt/beam /usr/local/lib /var/tmp; do touch $f/b; done"
    )

    assert status == 1
    assert output.splitlines()[0] == "1000"
    assert output.count("Read-only file system") == 5


def test_every_module_is_there_and_loads(run):
    files = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    ours = {file for file in files if file.startswith(("beam_jobs/", "components/", "pipeline/"))}

    status, output = run("python", "-c", IMPORT_ALL)

    assert status == 0, output[-3000:]
    expected = {file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in ours}
    assert set(json.loads(last_line(output))) == expected


def test_its_size(image):
    """What a node has to fetch and keep, unpacked."""
    (size,) = re.findall(r"([0-9.]+) GB", image.size)

    assert float(size) <= 3.0


def test_what_is_installed_is_what_the_locks_say_without_what_is_trimmed(run):
    pinned = {("audio-gender", "0.2.0")}
    for lock in ("requirements.lock", "locks/s3.lock", "locks/sign.lock", "locks/lineage.lock"):
        pinned |= set(re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE))
    (trimmed,) = re.findall(r"pip uninstall --quiet (.*?)\n\n", (ROOT / "k8s/image/trim.sh").read_text(), re.DOTALL)
    pinned = {(name, version) for name, version in pinned if name not in trimmed.replace("\\", "").split()}

    status, output = run("python", "-c", DISTRIBUTIONS)

    installed = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in json.loads(last_line(output))}
    assert (status, installed) == (0, pinned)


def test_nothing_is_left_to_compile(image):
    """A read-only container would do it anew at every start."""
    packages = ("tensorflow", "apache_beam", "tfx", "kapre", "librosa", "numpy", "pandas", "kfp")
    folders = [image.root / "app/.venv/lib/python3.11/site-packages" / package for package in packages]
    folders += [image.root / "app" / top for top in ("beam_jobs", "components", "pipeline")]
    folders.append(image.root / "usr/local/lib/python3.11/json")

    for folder in folders:
        init = folder / "__init__.py"
        assert not init.exists() or (folder / "__pycache__/__init__.cpython-311.pyc").exists(), folder


def test_the_jar_for_flink_is_there_without_flink(image):
    jar = image.root / "opt/beam/flink-job-server.jar"

    assert jar.stat().st_mode & 0o004
    names = zipfile.ZipFile(jar).namelist()
    assert "org/apache/beam/runners/flink/FlinkPipelineRunner.class" in names
    assert not [name for name in names if name.startswith(("org/apache/flink/", "org/slf4j/", "META-INF/BCKEY"))]


def test_ffmpeg_decodes_m4a(run):
    tone = "ffmpeg -loglevel error -f lavfi -i sine=frequency=440:duration=1:sample_rate=16000 -af volume=4 /tmp/tone.m4a"

    status, output = run("sh", "-c", f'{tone} && python -c "$0"', DECODE)

    assert status == 0, output
    rate, num_samples, loud = last_line(output).split()
    assert (rate, loud) == ("16000", "True")
    assert 16_000 <= int(num_samples) <= 18_048  # AAC's frames and priming


def test_without_espeak_the_demo_is_refused_in_one_line(run, writable):
    status, output = run(
        "audio-gender", "run", "--config=pipeline/configs/demo.yaml", "--workdir=/w/work", mounts={"/w": writable("w")}
    )

    assert status == 2
    assert last_line(output).startswith("error: ")
    assert "espeak-ng, which is not installed" in output
    assert "Traceback" not in output


def test_a_whole_run(pushed):
    (version,) = pushed.rglob("saved_model.pb")

    assert version.stat().st_uid == 1000
