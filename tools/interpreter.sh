#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `check` says in one line what this host lacks for set-up. `make DIR` makes the virtual environment DIR with Python 3.11, and
# DIR/bootstrap with uv: from $PYTHON, else from python3.11, else from a Python that uv fetches into DIR/python.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 2; }
say() { echo "setup: $*"; }

# Whatever runs pip: Python 3.11 itself or, where there is none, the system's python3. pyenv's shims are there and do not start.
host=${PYTHON:-}
for candidate in python3.11 python3; do
    [ -n "$host" ] || ! "$candidate" -c "" 2>/dev/null || host=$(command -v "$candidate")
done
hint="call make with PYTHON=/path/to/python3.11"

check() {
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "TFX's wheels exist for Linux x86_64 only, and this is $(uname -sm); use the container (k8s/)"
    [ -n "$host" ] || fail "neither python3.11 nor python3 is on the PATH; install one (Debian, Ubuntu: apt install python3-venv) or $hint"
    command -v "$host" >/dev/null || fail "PYTHON is '$host', and there is no such program; $hint"
    version=$("$host" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || fail "'$host' does not start; $hint"
    [ -z "${PYTHON:-}" ] || [ "$version" = 3.11 ] ||
        fail "Python 3.11 is needed (TFX supports no later one) and '$host' is $version; $hint, or without PYTHON: set-up then finds or fetches one"
    "$host" -c 'import ensurepip, venv' 2>/dev/null || fail "'$host' comes without venv; install it (Debian, Ubuntu: apt install python$version-venv)"
}

# uv's own build of Python 3.11; uv knows its checksum. Prints the path of the interpreter.
fetch() {
    local uv=$1/bootstrap/bin/uv
    "$uv" python install --quiet --no-bin --install-dir "$1/python" 3.11 2>"$1/fetch.log" ||
        fail "Python 3.11 could not be fetched ($(sed -n 's/^error: //p' "$1/fetch.log"): $(sed -n 's/^ *cause: //p' "$1/fetch.log" | tail -n 1));" \
            "install it and $hint, or name a mirror in UV_PYTHON_INSTALL_MIRROR"
    UV_PYTHON_INSTALL_DIR=$1/python "$uv" python find --system --managed-python 3.11
}

make_venv() {
    local venv python=$host
    venv=$(realpath "$1")
    # Made once, again after an interrupted first time or where the folder moved (a virtual environment holds its own path).
    [ "$(cat "$venv/.interpreter" 2>/dev/null)" = "$venv" ] && return
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .setup-lock ! -name .groups -exec rm -rf {} +
    "$host" -m venv "$venv/bootstrap"
    "$venv/bootstrap/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/bootstrap.lock
    if [ "$version" != 3.11 ]; then
        say "there is no Python 3.11 here: fetching uv's build of it (about 30 MB) into $(basename "$venv")/python; to use another, $hint"
        python=$(fetch "$venv")
    fi
    say "making $(basename "$venv") with $("$python" --version)"
    "$python" -m venv "$venv"
    bash tools/private_glibc.sh "$venv"
    echo "$venv" >"$venv/.interpreter"
}

check
if [ "$1" = make ]; then make_venv "$2"; fi
