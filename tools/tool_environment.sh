#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .cache/NAME, an environment of its own for a tool that the product knows nothing of, from tools/NAME.lock with hashes;
# prints its folder. A second call returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
folder=${TOOLS_CACHE:-.cache}/$name
lock=$(sha256sum "tools/$name.lock" | cut -d' ' -f1)
if [ "$(cat "$folder/.ready" 2>/dev/null)" != "$lock" ]; then
    echo "$name: setting up $folder" >&2
    rm -rf "$folder"
    index=$(.venv/bootstrap/bin/python -m pip config get global.index-url 2>/dev/null || true)
    [ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
    export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
    .venv/bootstrap/bin/uv venv --quiet --python .venv/bin/python "$folder" >&2
    VIRTUAL_ENV=$folder .venv/bootstrap/bin/uv pip sync --quiet --require-hashes "tools/$name.lock" >&2
    echo "$lock" >"$folder/.ready"
fi
echo "$folder"
