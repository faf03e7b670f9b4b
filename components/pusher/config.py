# SPDX-License-Identifier: Apache-2.0
"""How models get into serving."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from beam_jobs.config import Share, Strict


class CanaryConfig(Strict):
    """How `audio-gender serve` tries a candidate against the version in serving, and when it promotes it."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the requests, chosen by a hash of the body, that the candidate answers; with `shadow`, is asked as well."""
    shadow: bool = False
    """The candidate answers nobody: it is asked after the version in serving has answered, and compared with it."""
    requests: Annotated[int, Field(ge=20)] = 200
    """Compared requests after which the server decides."""
    min_agreement: Share = 0.85
    """Share of the answers whose label must be that of the version in serving."""
    max_label_shift: Share = 0.1
    """Largest allowed change in the share of any label."""
    max_score_shift: Share = 0.15
    """Largest allowed distance (Wasserstein's) between the two versions' distributions of any class's probability."""
    max_slowdown: Annotated[float, Field(gt=0)] = 2.0
    """Largest allowed median latency, as a multiple of that of the version in serving."""


class RollbackConfig(Strict):
    """When `audio-gender serve` takes a new version out of serving and puts the previous one back."""

    requests: Annotated[int, Field(ge=20)] = 500
    """Requests for which a new version is watched; the previous one stays in memory and answers those that the new one fails."""
    max_failures: Share = 0.05
    """Share of the requests that may fail; at least five must, and those that the previous version fails too do not count."""
    max_slowdown: Annotated[float, Field(gt=0)] = 3.0
    """Largest allowed median latency, as a multiple of that of the previous version."""


class PushConfig(Strict):
    """How a blessed model gets into serving, and what happens to it there."""

    mode: Literal["auto", "review", "canary"] = "auto"
    """`auto` pushes what the gate blesses; with `review` it waits for `audio-gender approve`; with `canary` it is a candidate,
    which `serve` tries on some of the requests, and promotes or rolls back ([candidates](../serving.md#candidates))."""
    canary: CanaryConfig = CanaryConfig()
    """How a candidate is tried."""
    rollback: RollbackConfig | None = RollbackConfig()
    """When a new version is taken out of serving again; null: never."""
    keep: Annotated[int, Field(ge=0)] = 5
    """Old versions to keep beside the newest, for rolling back."""
    private_key: str | None = None
    """Absolute path of the key that signs pushed models, never the key itself ([signed models](../serving.md#signed-models));
    null: unsigned."""
    openlineage_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")] | None = None
    """Server, such as `http://marquez:5000`, that is sent an OpenLineage event for each version that comes into serving, by a
    push, an approval, a rollback (which goes where the last push did) or a decision of `serve` (`make setup EXTRAS=lineage`);
    null: none."""

    @model_validator(mode="after")
    def _a_path(self) -> Self:
        # Of the whole section, so that the message does not repeat what may be a key.
        if self.private_key is not None and not Path(self.private_key).is_absolute():
            raise ValueError(
                "private_key must be the absolute path of a file, such as /keys/private.pem; "
                "a key itself does not belong in a configuration, which is stored with each run and shown on its report"
            )
        return self
