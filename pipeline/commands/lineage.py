# SPDX-License-Identifier: Apache-2.0
"""`audio-gender lineage`: what made a version that is in serving."""

from typing import Annotated

import typer

from beam_jobs.console import tell
from beam_jobs.errors import UserError
from pipeline.commands.options import JsonFile, write_json


def lineage(
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="A version's number; by default the newest.")] = None,
    serving: Annotated[
        str, typer.Option(metavar="DIR", help="Serving folder, or its address on an object store.")
    ] = "work/serving",
    config: Annotated[
        bool, typer.Option("--config", help="Print the configuration of the run that made it instead, as YAML.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Print which data, configuration, code and decision made a version, from the serving folder alone."""
    from beam_jobs import yaml_text
    from pipeline.served import facts, provenance_of

    stored = provenance_of(serving.rstrip("/"), version)
    if not write_json(json_file, stored.model_dump_json(indent=1)):
        return
    if config:
        if not stored.config:
            raise UserError(f"version {stored.version}: its configuration was not stored, only its digest {stored.config_digest}")
        for line in yaml_text.dump(stored.config).splitlines():
            tell(line)
        return
    found = facts(serving, stored)
    width = max(len(name) for name, _ in found)
    for name, value in found:
        tell(f"{name:<{width}}  {value}")
