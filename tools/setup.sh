#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv ready: Python 3.11, the hashed locks, this project. Nothing outside .venv changes; a second call returns at once.
# Arguments are the groups of locks/ that are wanted beside requirements.lock; those that were asked for before stay.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 2; }
say() { echo "setup: $*"; }

venv=.venv
stamp=$venv/.ready
# The locks pin every wheel, so these files say all there is to know about what .venv should hold.
inputs=$(cat requirements.lock locks/*.lock pyproject.toml tools/{bootstrap.lock,setup.sh,interpreter.sh,private_glibc.sh} |
    sha256sum | cut -d' ' -f1)
all_groups() { printf '%s\n' "$@" $(cat "$venv/.groups" 2>/dev/null) | sort -u | xargs; }
is_ready() { [ "$(cat "$stamp" 2>/dev/null)" = "$inputs $PWD $(all_groups "$@")" ]; }
for group in "$@"; do
    [ -f "locks/$group.lock" ] || fail "there is no group '$group'; there are $(basename -s .lock locks/*.lock | xargs)"
done
is_ready "$@" && exit 0

# uv trusts what this host trusts, as pip and git do: behind a company's proxy its own list is not enough.
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
bash tools/interpreter.sh check
mkdir -p "$venv"
exec 9>"$venv/.setup-lock"
flock -n 9 || { say "another set-up is at work in $venv; waiting for it"; flock 9; }
is_ready "$@" && exit 0
rm -f "$stamp"
# A service account's home folder may be missing or not its own.
mkdir -p "${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/}/.cache}/uv}" 2>/dev/null ||
    export UV_CACHE_DIR=$PWD/$venv/cache/uv PIP_CACHE_DIR=$PWD/$venv/cache/pip
bash tools/interpreter.sh make "$venv"

# uv does not read pip's configuration: hand it the mirror that this host's pip uses, if any.
index=$("$venv/bootstrap/bin/python" -m pip config get global.index-url 2>/dev/null || true)
[ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
export VIRTUAL_ENV=$PWD/$venv
groups=$(all_groups "$@")
echo "$groups" >"$venv/.groups"
locks=(requirements.lock)
for group in $groups; do locks+=("locks/$group.lock"); done
say "installing $(cat "${locks[@]}" | grep -c '^[a-z0-9].*==') locked packages (about a minute on the first run)"
"$venv/bootstrap/bin/uv" pip sync --quiet --require-hashes --build-constraints requirements.lock --require-build-hashes \
    --python-platform x86_64-manylinux_2_39 "${locks[@]}"
"$venv/bootstrap/bin/uv" pip install --quiet --no-deps --no-build-isolation --offline --editable .
"$venv/bin/python" -c 'import ml_metadata, soundfile' ||
    fail "the installed packages do not load on this host (see the lines above); remove $venv and try again, or use the container (k8s/)"
echo "$inputs $PWD $groups" >"$stamp"
say "$venv is ready"
