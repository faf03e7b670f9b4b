# SPDX-License-Identifier: Apache-2.0
"""How models get into serving."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from beam_jobs.config import Strict


class PushConfig(Strict):
    """`auto` pushes what the gate blesses; with `review` a blessed model waits for `audio-gender approve`."""

    mode: Literal["auto", "review"] = "auto"
    """`auto` pushes what the gate blesses; with `review` a blessed model waits for `audio-gender approve`."""
    keep: Annotated[int, Field(ge=0)] = 5
    """Old versions to keep beside the newest, for rolling back."""
    private_key: str | None = None
    """Absolute path of the key that signs pushed models, never the key itself ([signed models](../serving.md#signed-models));
    null: unsigned."""
    openlineage_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")] | None = None
    """Server, such as `http://marquez:5000`, that is sent an OpenLineage event for each version that comes into serving: by a
    push, an approval or a rollback, which goes where the last push did (`make setup EXTRAS=lineage`); null: none."""

    @model_validator(mode="after")
    def _a_path(self) -> Self:
        # Of the whole section, so that the message does not repeat what may be a key.
        if self.private_key is not None and not Path(self.private_key).is_absolute():
            raise ValueError(
                "private_key must be the absolute path of a file, such as /keys/private.pem; "
                "a key itself does not belong in a configuration, which is stored with each run and shown on its report"
            )
        return self
