#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lays into dist/, or into the folder $1, what installs this project elsewhere: the wheel and the hashed locks that belong to it.
set -euo pipefail
cd "$(dirname "$0")/.."

dist=${1:-dist}
mkdir -p "$dist"
rm -rf "$dist"/*.whl "$dist"/*.lock build
.venv/bootstrap/bin/uv build --quiet --wheel --no-build-isolation --offline --python .venv/bin/python --out-dir "$dist"
rm -rf build
wheel=$(basename "$dist"/*.whl)
{
    echo "# $wheel, made at $(git describe --always --dirty --abbrev=40 --exclude='*'), and all that it needs."
    cat requirements.lock
    echo "./$wheel --hash=sha256:$(sha256sum "$dist/$wheel" | cut -d' ' -f1)"
} >"$dist/audio-gender.lock"
cp locks/{synth,s3,wandb,export,sign,croissant}.lock "$dist/"
echo "dist: $dist holds $wheel and its locks; docs/install.md says how to install them"
