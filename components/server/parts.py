# SPDX-License-Identifier: Apache-2.0
"""Recordings that a client asks about in parts: `combine` takes what `timeline` gave for them, of one version alone.

What it is given says nothing about the version that made it, and another network's numbers give an answer too, a wrong one. So
a request names the version, in its path: a named version answers, or nobody does.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

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
    return served.asking({COMBINE: _named(served.version, served.signatures[COMBINE].function, path)})


def _named(version: int, function: Callable[..., Any], path: str | None) -> Callable[..., Mapping[str, Any]]:
    def ask(**inputs: Any) -> Mapping[str, Any]:
        if path is not None:
            raise RequestError(
                f"combine: name one version in the path of this request and of those for the parts, such as {path}"
            )
        try:
            return function(**inputs)
        except tf.errors.InvalidArgumentError:
            raise RequestError(f"combine: not what version {version} gives for a part; ask it about every part") from None

    return ask
