#!/usr/bin/env bash
# Makes .venv ready: Python 3.11, the hashed lock, this project. Nothing outside .venv changes; a second call returns at once.
# Arguments are the groups of locks/ that are wanted beside requirements.lock; those that were asked for before stay.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 2; }
say() { echo "setup: $*"; }

PYTHON=${PYTHON:-python3.11}
venv=.venv
stamp=$venv/.ready
# The locks pin every wheel, so these files say all there is to know about what .venv should hold.
inputs=$(cat requirements.lock locks/*.lock pyproject.toml tools/bootstrap.lock tools/setup.sh tools/private_glibc.sh | sha256sum | cut -d' ' -f1)
groups() { printf '%s\n' "$@" $(cat "$venv/.groups" 2>/dev/null) | sort -u | xargs; }
is_ready() { [ "$(cat "$stamp" 2>/dev/null)" = "$inputs $PWD $(groups "$@")" ]; }
for group in "$@"; do
    [ -f "locks/$group.lock" ] || fail "there is no group '$group'; there are: $(basename -s .lock locks/*.lock | xargs)"
done
is_ready "$@" && exit 0

[ "$(uname -sm)" = "Linux x86_64" ] || fail "TFX's wheels exist for Linux x86_64 only, and this is $(uname -sm); use the container (k8s/)"
command -v "$PYTHON" >/dev/null || fail "Python 3.11 is needed and '$PYTHON' is not on the PATH; install it (Debian 12: apt install python3.11 python3.11-venv) or call make with PYTHON=/path/to/python3.11"
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || fail "'$PYTHON' does not start; call make with PYTHON=/path/to/python3.11"
[ "$version" = 3.11 ] || fail "Python 3.11 is needed (TFX supports no later one) and '$PYTHON' is $version; call make with PYTHON=/path/to/python3.11"
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "'$PYTHON' comes without venv; install it (Debian, Ubuntu: apt install python3.11-venv)"
mkdir -p "$venv"
exec 9>"$venv/.setup-lock"
flock -n 9 || { say "another set-up is at work in $venv; waiting for it"; flock 9; }
is_ready "$@" && exit 0
rm -f "$stamp"

# The interpreter: made once, again after an interrupted first time or where the folder moved (a venv holds its own path).
if [ "$(cat "$venv/.interpreter" 2>/dev/null)" != "$PWD" ]; then
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .setup-lock ! -name .groups -exec rm -rf {} +
    say "making $venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv --copies "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        --target "$venv/bootstrap" -r tools/bootstrap.lock
    bash tools/private_glibc.sh "$venv"
    echo "$PWD" >"$venv/.interpreter"
fi

# uv does not read pip's configuration: hand it the mirror that this host's pip uses, if any.
index=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)
[ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
export VIRTUAL_ENV=$PWD/$venv
groups=$(groups "$@")
echo "$groups" >"$venv/.groups"
locks=(requirements.lock)
for group in $groups; do locks+=("locks/$group.lock"); done
say "installing $(cat "${locks[@]}" | grep -c '^[a-z0-9].*==') locked packages (about a minute on the first run)"
"$venv/bootstrap/bin/uv" pip sync --quiet --require-hashes --python-platform x86_64-manylinux_2_39 "${locks[@]}"
"$venv/bootstrap/bin/uv" pip install --quiet --no-deps --no-build-isolation --offline --editable .
"$venv/bin/python" -c 'import ml_metadata, soundfile' ||
    fail "the installed packages do not load on this host (see the lines above); remove $venv and try again, or use the container (k8s/)"
echo "$inputs $PWD $groups" >"$stamp"
say "$venv is ready"
