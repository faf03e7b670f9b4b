#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Resolves the dependencies into requirements.lock (what the pipeline needs), locks/*.lock (what each extra and the development
# group add to it) and tools/*.lock, for tools. All are resolved together, so any of them can be installed side by side.
# Arguments go to uv: `--upgrade` takes the newest versions, without it only what no longer fits changes.
set -euo pipefail
cd "$(dirname "$0")/.."

# Nothing may need a compiler: wheels only, but for these packages, which publish none and are pure Python.
sources=(google-apitools jsonpath-rw kfp-server-api rouge-score)
compile=(.venv/bootstrap/bin/uv pip compile --generate-hashes --quiet --no-header
    --python-platform x86_64-manylinux_2_39 --python-version 3.11
    --only-binary :all: "${sources[@]/#/--no-binary=}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
all=$work/all.lock
cat requirements.lock locks/*.lock | grep -v '^--' >"$all"
"${compile[@]}" pyproject.toml --all-extras --group dev --output-file "$all" "$@"
"${compile[@]}" pyproject.toml --constraints "$all" --emit-build-options --output-file "$work/requirements.lock"
mapfile -t base < <(sed -nE 's/^([a-z0-9][a-z0-9.-]*).*==.*/--no-emit-package=\1/p' "$work/requirements.lock")
for group in --extra=synth --extra=s3 --extra=wandb --extra=export --extra=sign --extra=lineage --extra=croissant --group=dev; do
    "${compile[@]}" pyproject.toml "$group" --constraints "$all" "${base[@]}" --emit-build-options \
        --output-file "$work/group.lock"
    # uv says at the end what it left out and, in each entry, in which file it found the version.
    sed '/^# The following packages were excluded/,$d; /^    #   -c /d' "$work/group.lock" >"locks/${group#*=}.lock"
done
sed '/^    #   -c /d' "$work/requirements.lock" >requirements.lock
for tool in bootstrap docs sbom; do
    "${compile[@]}" "tools/$tool.in" --emit-build-options --output-file "tools/$tool.lock" "$@"
done
# For pip the last word counts: "only wheels" has to come before its exceptions, and uv writes it after them.
sed -i '1i --only-binary :all:' requirements.lock locks/*.lock tools/{bootstrap,docs,sbom}.lock
sed -i '2,${/^--only-binary :all:/d}' requirements.lock locks/*.lock tools/{bootstrap,docs,sbom}.lock
