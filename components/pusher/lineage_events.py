# SPDX-License-Identifier: Apache-2.0
"""An OpenLineage event for each version that comes into serving, where `push.openlineage_url` asks for it."""

import datetime
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from beam_jobs.console import say
from beam_jobs.errors import UserError
from beam_jobs.files import absolute
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import read_provenance, versions

NAMESPACE = "audio-gender"
PRODUCER = "urn:audio-gender"
TIMEOUT_S = 10


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
    url = last.config.get("push", {}).get("openlineage_url")
    if not url:
        return
    try:
        check_package(url)
    except UserError as error:
        say(f"no OpenLineage event was sent: {error}")
        return
    send(url, str(serving), provenance)


def send(url: str, serving: str, provenance: Provenance) -> None:
    """Sends what went into a version: the run that made it, its data, its code, its configuration, and who decided.

    A server that does not accept it is one line of the log: the model is in serving all the same.
    """
    from openlineage.client import OpenLineageClient, set_producer
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import RunFacet, dataset_version_dataset
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    set_producer(PRODUCER)
    serving = absolute(serving)
    stored = provenance.model_dump(include={"action", "by", "login", "note", "override", "blessed", "run_id", "code_revision"})
    stored |= {"config_digest": provenance.config_digest, "model_digest": provenance.model_digest}
    # Declared to be of the base class, which a run does not take.
    made_of: Any = RunFacet().with_additional_properties(**stored)
    version = dataset_version_dataset.DatasetVersionDatasetFacet
    clips = str(provenance.config.get("kubernetes", {}).get("dataset_uri") or "clips")
    event = RunEvent(
        eventTime=datetime.datetime.now(datetime.UTC).isoformat(),
        eventType=RunState.COMPLETE,
        # OpenLineage knows runs by UUIDs alone: one for each decision, the same wherever it is worked out.
        run=Run(
            runId=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{serving}/{provenance.version}")),
            facets={"audio_gender": made_of},
        ),
        job=Job(namespace=NAMESPACE, name=f"push.{provenance.action.replace(' ', '_')}"),
        inputs=[InputDataset(NAMESPACE, clips, facets={"version": version(datasetVersion=provenance.dataset_fingerprint)})],
        outputs=[OutputDataset(NAMESPACE, serving, facets={"version": version(datasetVersion=str(provenance.version))})],
    )
    try:
        transport = HttpTransport(HttpConfig.from_dict({"type": "http", "url": url, "timeout": TIMEOUT_S, "retry": {"total": 1}}))
        OpenLineageClient(transport=transport).emit(event)
    except Exception as error:  # whatever the client raises: requests' errors, its own, those of an address
        say(f"the OpenLineage server at {url} did not accept the event: {' '.join(str(error).split())[:200]}")
