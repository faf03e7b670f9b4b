# SPDX-License-Identifier: Apache-2.0
"""Where a version in serving comes from: written beside the model, read back by rollback, the runs list and people."""

import getpass
import hashlib
import json
import os
import socket
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from components.alarm import Alarm
from components.model_digest import PROVENANCE_FILE

ROOT = Path(__file__).parents[2]
PACKAGES = ("beam_jobs", "components", "pipeline")
REVISION_VARIABLE = "CODE_REVISION"


class Provenance(BaseModel):
    """Who put a model into serving, when, and what it was made of.

    `model_version` is the version under which the model was first pushed: `version` itself, or of a rollback an earlier one.
    `action` is `promoted` of a candidate that a server tried.
    `run_id` is the run that trained it; empty where something else put the version there. `note` is the reason of an
    override, or what the person who decided had to say. `dataset_uri` is the dataset folder of that run, where it lay then; empty
    in versions of before. `config` is the run's configuration with the values that it really had,
    empty in versions of before; `config_digest` is its digest. `alarm` is why it was retrained; None where a person started the
    run. Times are ISO 8601 in UTC.
    """

    version: int = 0
    model_version: int = 0
    model_digest: str = ""
    pushed_at: str = ""
    action: Literal["pushed", "promoted", "approved", "rolled back"] = "pushed"
    by: str
    login: str
    note: str = ""
    override: bool = False
    blessed: bool = False
    run_id: str = ""
    dataset_uri: str = ""
    dataset_fingerprint: str = ""
    config_digest: str = ""
    config: dict[str, Any] = {}
    alarm: Alarm | None = None
    code_revision: str = ""
    rolled_back_to: int | None = None


def read_provenance(serving: Path, version: int) -> Provenance | None:
    """What is stored with a version; None where something else put it there."""
    try:
        return Provenance.model_validate(json.loads((serving / str(version) / PROVENANCE_FILE).read_text()))
    except (OSError, ValueError, ValidationError):
        return None


class Approval(BaseModel):
    """A person's decision that the model of a run goes into serving."""

    run_id: str
    by: str
    login: str
    note: str = ""
    override: bool = False
    code_revision: str = ""


def login() -> str:
    """The user and the machine of this process: `ada@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container a user may have a number and no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


@lru_cache
def code_revision() -> str:
    """The git commit of this code, `-dirty` behind it where files differ from it; outside of git a digest of the sources.

    An image has no git: what it was built from stands in its environment.
    """
    if built_from := os.environ.get(REVISION_VARIABLE):
        return f"git:{built_from}"
    try:
        git = ["git", "-C", str(ROOT)]
        # An installed package may lie in someone else's repository.
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=30)
        done = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], capture_output=True, text=True, timeout=30
        )
        if tracked.returncode == done.returncode == 0:
            return f"git:{done.stdout.strip()}"
    except (OSError, subprocess.TimeoutExpired):
        pass
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return f"sha256:{digest.hexdigest()}"
