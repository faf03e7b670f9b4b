# SPDX-License-Identifier: Apache-2.0
"""Where a version in serving comes from, out of the serving folder alone: no work folder, no metadata store."""

import json
from pathlib import Path

from beam_jobs.errors import UserError
from components.model_digest import PROVENANCE_FILE, model_digest
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import read_provenance, version_folder, versions


def provenance_of(serving: str, version: str | None) -> Provenance:
    """What is stored with a version; None is the newest.

    Args:
        serving: the serving folder, or its address on an object store.
        version: its number.

    Raises:
        UserError: there is no such version, or something else than this project put it there.
    """
    stored = _remote(serving, version) if "://" in serving else _local(Path(serving), version)
    if stored is None:
        raise UserError(f"{serving}: version {version or '(newest)'} has no provenance, so something else put it there")
    return stored


def facts(serving: str, stored: Provenance) -> list[tuple[str, str]]:
    """What made a version, for people: names and values, without those that are not known."""
    config, kubernetes = stored.config, stored.config.get("kubernetes", {})
    on_kubeflow = stored.dataset_uri in ("", kubernetes.get("dataset_uri"))
    decision = f"{stored.action} by {stored.by} ({stored.login})"
    if stored.override:
        decision += ", overriding the gate or the comparison"
    if stored.rolled_back_to:
        decision += f", back to version {stored.rolled_back_to}"
    items = [
        ("version", str(stored.version)),
        ("pushed at", stored.pushed_at),
        ("decision", decision),
        ("note", stored.note),
        ("retrained for", stored.alarm.text if stored.alarm else ""),
        ("gate", "blessed" if stored.blessed else "not blessed"),
        ("run", stored.run_id),
        ("first pushed as", str(stored.model_version) if stored.model_version != stored.version else ""),
        ("model", stored.model_digest),
        ("files", _files(serving, stored)),
        ("data", stored.dataset_fingerprint),
        ("clips", _shortly(config.get("clips", {}).get("num_clips"))),
        # Of a run on a laptop, that section is what Kubeflow would have used.
        ("corpus", (on_kubeflow and kubernetes.get("corpus_uri")) or ""),
        ("config", stored.config_digest),
        ("epochs", str(config.get("train", {}).get("epochs", ""))),
        ("code", stored.code_revision),
    ]
    return [(name, value) for name, value in items if value]


def _local(serving: Path, version: str | None) -> Provenance | None:
    there = versions(serving)
    if not there and version is None:
        raise UserError(f"{serving}: holds no version of a model; give the serving folder with --serving")
    number = int(version_folder(serving, version).name) if version else there[-1]
    return read_provenance(serving, number)


def _remote(serving: str, version: str | None) -> Provenance | None:
    import tensorflow as tf

    from components.pusher.remote_folder import versions_remote

    there = [str(number) for number in versions_remote(serving)]
    if not there or (version and version not in there):
        raise UserError(f"{serving}: no version {version or 'of a model'}; there are {', '.join(there) or 'none'}")
    path = f"{serving}/{version or there[-1]}/{PROVENANCE_FILE}"
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return Provenance.model_validate_json(file.read())


def _files(serving: str, stored: Provenance) -> str:
    if "://" in serving:
        return ""
    there = model_digest(Path(serving, str(stored.version)))
    return "as they were pushed" if there == stored.model_digest else "its files are not those that were pushed"


def _shortly(value: object) -> str:
    return json.dumps(value).strip("{}").replace('"', "") if value else ""
