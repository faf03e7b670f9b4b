"""How models get into serving."""

from typing import Annotated, Literal

from pydantic import Field

from beam_jobs.config import Strict


class PushConfig(Strict):
    """`auto` pushes what the gate blesses; with `review` a blessed model waits for `audio-gender approve`."""

    mode: Literal["auto", "review"] = "auto"
    keep: Annotated[int, Field(ge=0)] = 5
    """Old versions kept beside the newest, to roll back to."""
