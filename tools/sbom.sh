#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Adds to dist/, or to the folder $1: sbom.cdx.json, what audio-gender.lock installs, in CycloneDX, and SHA256SUMS of all files.
# The tool that writes it has an environment of its own, .cache/sbom, by tools/sbom.lock.
set -euo pipefail
cd "$(dirname "$0")/.."

dist=${1:-dist}
tools=$(bash tools/tool_environment.sh sbom)
# It warns that a lock says nothing of what needs what.
PYTHONWARNINGS=ignore "$tools/bin/cyclonedx-py" requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
    --output-format JSON --output-file "$dist/sbom.cdx.json" requirements.lock
(cd "$dist" && rm -f SHA256SUMS && sha256sum -- *.whl *.lock sbom.cdx.json >SHA256SUMS)
echo "dist: sbom.cdx.json names $(grep -c '"bom-ref"' "$dist/sbom.cdx.json") components; sha256sum -c SHA256SUMS checks the files"
