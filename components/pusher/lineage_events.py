# SPDX-License-Identifier: Apache-2.0
"""An OpenLineage event for each version that comes into serving or fails its trial, where `push.openlineage_url` asks for it."""

import datetime
import threading
import uuid
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from beam_jobs.console import say
from beam_jobs.dataset import folder_above
from beam_jobs.errors import UserError
from beam_jobs.files import absolute
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import read_provenance, versions

NAMESPACE = "audio-gender"
PRODUCER = "urn:audio-gender"
TIMEOUT_S = 10
"""Of a connection, and of each part of an answer."""
DEADLINE_S = 25
"""Of all of it: twice the above, and the loading of the client. A server that answers byte by byte keeps to each timeout."""


def check_package(url: str) -> None:
    """Makes sure, before anything is pushed, that events can be sent.

    Raises:
        UserError: the package is not installed.
    """
    if url and not find_spec("openlineage"):
        raise UserError(
            "push.openlineage_url is set and the package openlineage-python is not installed; "
            "`make setup EXTRAS=lineage` installs it, or lineage.lock beside the wheel"
        )


def send_rollback(serving: Path, provenance: Provenance) -> None:
    """Sends a rollback, which has no configuration of its own, to where the last push into the folder sent its event.

    Whatever is in the way is one line and no error: the version is in serving.
    """
    known = (read_provenance(serving, version) for version in reversed(versions(serving)))
    last = next((one for one in known if one and one.action != "rolled back"), provenance)
    _send_if_asked(last.config, serving, provenance)


def send_verdict(serving: Path, provenance: Provenance) -> None:
    """Sends what became of a candidate, promoted or withdrawn, to where its run's own push would have. As `send_rollback`."""
    _send_if_asked(provenance.config, serving, provenance, in_serving=provenance.action != "rolled back")


def _send_if_asked(config: Mapping[str, Any], serving: Path, provenance: Provenance, in_serving: bool = True) -> None:
    url = config.get("push", {}).get("openlineage_url")
    if not url:
        return
    try:
        check_package(url)
    except UserError as error:
        say(f"no OpenLineage event was sent: {error}")
        return
    send(url, str(serving), provenance, in_serving)


def send(url: str, serving: str, provenance: Provenance, in_serving: bool = True) -> None:
    """Sends what went into a version: the run that made it, its data, its code, its configuration, and who decided.

    A server that does not accept it, or not in time, is one line of the log: the model is in serving all the same.

    Args:
        url: of the server.
        serving: the serving folder.
        provenance: of the version.
        in_serving: false of a candidate that was withdrawn, whose promotion failed.
    """
    problem = ["no answer in time"]

    def emit() -> None:
        try:
            _emit(url, absolute(serving), provenance, in_serving)
            problem.clear()
        except Exception as error:  # whatever the client raises: requests' errors, its own, those of an address
            problem[:] = [" ".join(str(error).split())[:200]]

    thread = threading.Thread(target=emit, name="send an OpenLineage event", daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    if problem:
        say(f"the OpenLineage server at {url} did not accept the event: {problem[0]}")


def _emit(url: str, serving: str, provenance: Provenance, in_serving: bool) -> None:
    from openlineage.client import OpenLineageClient, set_producer
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import RunFacet, dataset_version_dataset, error_message_run
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    set_producer(PRODUCER)
    stored = provenance.model_dump(include={"action", "by", "login", "note", "override", "blessed", "run_id", "code_revision"})
    dataset = provenance.dataset_uri or str(provenance.config.get("kubernetes", {}).get("dataset_uri") or "")
    stored |= {"config_digest": provenance.config_digest, "model_digest": provenance.model_digest, "dataset_uri": dataset}
    clips = folder_above(dataset) or "clips"  # one dataset for OpenLineage, of which a grown corpus makes another version
    # Declared to be of the base class, which a run does not take.
    made_of: Any = RunFacet().with_additional_properties(**stored)
    version = dataset_version_dataset.DatasetVersionDatasetFacet
    made = OutputDataset(NAMESPACE, serving, facets={"version": version(datasetVersion=str(provenance.version))})
    failed = error_message_run.ErrorMessageRunFacet(message=provenance.note, programmingLanguage="Python")
    event = RunEvent(
        eventTime=datetime.datetime.now(datetime.UTC).isoformat(),
        eventType=RunState.COMPLETE if in_serving else RunState.FAIL,
        # OpenLineage knows runs by UUIDs alone: one for each decision, the same wherever it is worked out.
        run=Run(
            runId=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{serving}/{provenance.version}")),
            facets={"audio_gender": made_of} | ({} if in_serving else {"errorMessage": failed}),
        ),
        job=Job(namespace=NAMESPACE, name=f"push.{provenance.action.replace(' ', '_') if in_serving else 'promoted'}"),
        inputs=[InputDataset(NAMESPACE, clips, facets={"version": version(datasetVersion=provenance.dataset_fingerprint)})],
        outputs=[made] if in_serving else [],
    )
    transport = HttpTransport(HttpConfig.from_dict({"type": "http", "url": url, "timeout": TIMEOUT_S, "retry": {"total": 1}}))
    OpenLineageClient(transport=transport).emit(event)
