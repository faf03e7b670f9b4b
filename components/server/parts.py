# SPDX-License-Identifier: Apache-2.0
"""Recordings that a client asks about in parts: `combine` takes what `timeline` gave for them, of one version alone.

What it is given says nothing about the version that made it, and another network's numbers give an answer too, a wrong one. So
a request names the version, in its path: a named version answers, or nobody does.
"""

from collections.abc import Callable, Mapping
from typing import Any

from components.server.errors import RequestError
from components.server.versions import ServedVersion

COMBINE = "combine"


def combining(served: ServedVersion, path: str | None) -> ServedVersion:
    """A version for one request, whose `combine` answers where the request names the version.

    Args:
        served: the version.
        path: that names it; None where the request's own path does.
    """
    if COMBINE not in served.signatures:
        return served
    return served.asking({COMBINE: _named(served, path)})


def _named(served: ServedVersion, path: str | None) -> Callable[..., Mapping[str, Any]]:
    function = served.signatures[COMBINE].function

    def ask(**inputs: Any) -> Mapping[str, Any]:
        if path is not None:
            raise RequestError(
                f"combine: name one version in the path of this request and of those for the parts, such as {path}"
            )
        if not _are_parts(served, inputs):
            raise RequestError(f"combine: not what version {served.version} gives for a part; ask it about every part")
        return function(**inputs)

    return ask


def _are_parts(served: ServedVersion, inputs: Mapping[str, Any]) -> bool:
    """Whether shapes are those of the version's `timeline`: `combine` takes any, and an error of its own is the model's."""
    pooled, weights = tuple(inputs["step_pooled"].shape), tuple(inputs["step_weights"].shape)
    given = served.signatures["timeline"].outputs["step_pooled"].shape if "timeline" in served.signatures else pooled
    return pooled[:2] == weights and given[-1] in (-1, pooled[-1])
