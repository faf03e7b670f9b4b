# SPDX-License-Identifier: Apache-2.0
"""What the page asks: who speaks when in a recording of any format."""

import dataclasses
import io
from pathlib import Path

from beam_jobs.errors import UserError
from components.server.bodies import write_json
from components.server.errors import RequestError
from components.server.versions import ServedVersion

PAGE = Path(__file__).parent / "page.html"
PAGE_HEADERS = {
    # The page asks this server alone, and no other page shows it in a frame.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' blob:; "
    "connect-src 'self'; media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
MAX_NAME = 255


def analyse(served: ServedVersion, body: bytes, name: str, max_duration_s: float) -> bytes:
    """The answer for a recording and its segments, as JSON; what `components.inference` says, and the version.

    Args:
        served: the version that answers.
        body: the file.
        name: its name, by whose ending its format is told; without one, its content alone decides.
        max_duration_s: how long it may be.

    Raises:
        RequestError: it cannot be decoded, or is too long; or the model is older than timelines.
    """
    # No path: a name is only looked at.
    name = Path(name[-MAX_NAME:].replace("\0", "")).name
    try:
        timeline = served.model.timeline(io.BytesIO(body), name, max_duration_s)
    except UserError as error:
        raise RequestError(str(error), 501) from None
    if timeline.prediction.error:
        raise RequestError(timeline.prediction.error)
    answer = dataclasses.asdict(timeline.prediction)
    del answer["error"]
    segments = [dataclasses.asdict(segment) for segment in timeline.segments]
    return write_json({"version": str(served.version), **answer, "segments": segments})
