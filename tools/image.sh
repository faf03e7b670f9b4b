#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds k8s/image/Dockerfile with whichever container engine is at work here.
set -euo pipefail
cd "$(dirname "$0")/.."

for engine in docker podman; do
    "$engine" info >/dev/null 2>&1 || continue
    "$engine" build --file k8s/image/Dockerfile --tag "${IMAGE:=audio-gender:local}" \
        --build-arg REVISION="$(git describe --always --dirty --abbrev=40 --exclude='*')" .
    echo "image: built $IMAGE; next: push it to your registry, or load it into kind (docs/kubernetes.md)"
    exit
done
echo "image: neither docker nor podman answers here (the program alone is not enough, its engine must run); start one and try again" >&2
exit 2
