# SPDX-License-Identifier: Apache-2.0
"""The image of the steps: named by digest, because a tag may be another image tomorrow."""

import re

from beam_jobs.errors import UserError

DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


def check_image(image: str, allow_tag: bool) -> None:
    """Makes sure that an image is named by its digest, or at least at all.

    Raises:
        UserError: it is not.
    """
    if not image.strip():
        raise UserError("--image is empty; name an image that `make image` built and that was pushed to a registry")
    if not DIGEST.fullmatch(image) and not allow_tag:
        raise UserError(
            f"--image {image}: has no digest, so there is no telling which code will run; give NAME@sha256:…, as printed when "
            "the image was pushed, or --allow-tag on a test cluster"
        )
