# SPDX-License-Identifier: Apache-2.0
"""Lets manifests through whose images all have a digest.

    kubectl kustomize k8s/overlays/production | .venv/bin/python tools/check_images.py | kubectl apply -f -

An image by its tag may be another one tomorrow, and nobody could say which code ran. Where one has no digest, nothing is
written, so that nothing is applied.
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


def images(value: Any) -> Iterator[str]:
    """Every image that an object names, at whatever depth: of containers, or a FlinkDeployment's own."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "image" and isinstance(item, str):
                yield item
            else:
                yield from images(item)
    elif isinstance(value, list):
        for item in value:
            yield from images(item)


def main() -> int:
    """Copies standard input to standard output, or names each image without a digest. Returns the exit status."""
    manifests = sys.stdin.read()
    found = {image for document in yaml.safe_load_all(manifests) for image in images(document)}
    without = sorted(image for image in found if not DIGEST.search(image))
    if not found:
        print("error: standard input: no manifests; pipe `kubectl kustomize k8s/overlays/production` in here", file=sys.stderr)
        return 2
    if without:
        print(
            f"error: images without a digest: {', '.join(without)}; nothing is applied; pin each in k8s/overlays/production/"
            "kustomization.yaml with `kustomize edit set image NAME=REPOSITORY@sha256:…` (docs/kubernetes-production.md)",
            file=sys.stderr,
        )
        return 2
    sys.stdout.write(manifests)
    return 0


if __name__ == "__main__":
    sys.exit(main())
