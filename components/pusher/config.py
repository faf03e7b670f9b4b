"""How models get into serving."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from beam_jobs.config import Strict


class PushConfig(Strict):
    """`auto` pushes what the gate blesses; with `review` a blessed model waits for `audio-gender approve`."""

    mode: Literal["auto", "review"] = "auto"
    keep: Annotated[int, Field(ge=0)] = 5
    """Old versions kept beside the newest, to roll back to."""
    private_key: str | None = None
    """File with the key that signs what is pushed, such as `/keys/private.pem`; docs/serving.md says how to make one."""
    openlineage_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")] | None = None
    """Server that is sent an OpenLineage event for each version that comes into serving."""

    @model_validator(mode="after")
    def _a_path(self) -> Self:
        # Of the whole section, so that the message does not repeat what may be a key.
        if self.private_key is not None and not Path(self.private_key).is_absolute():
            raise ValueError(
                "private_key must be the absolute path of a file, such as /keys/private.pem; "
                "a key itself does not belong in a configuration, which is stored with each run and shown on its report"
            )
        return self
