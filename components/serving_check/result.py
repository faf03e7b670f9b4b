"""What the serving check found, as data: written by the component, read by the gate, the report and the terminal."""

from pydantic import BaseModel

RESULT_FILE = "serving_check.json"


class ServingCheckResult(BaseModel):
    """`reasons` is empty for a model that can be served; each is one clause in words.

    `seconds` and `peak_memory_mb` are those of the whole process, TensorFlow included. `max_difference` is the greatest between a
    probability that `serving_default` gave and the one that the pipeline computed; None where there was no answer to compare.
    """

    ok: bool
    reasons: list[str]
    clips: int
    seconds: float
    peak_memory_mb: float
    max_difference: float | None = None
