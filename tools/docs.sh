#!/usr/bin/env bash
# Builds the documentation site into build/docs: generated pages, then Sphinx, strictly, then its links. Sphinx has an
# environment of its own, .cache/docs, by tools/docs.lock, so that the product's locks know nothing of it.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
tools=${DOCS_ENV:-.cache/docs}
lock=$(sha256sum tools/docs.lock | cut -d' ' -f1)
if [ "$(cat "$tools/.ready" 2>/dev/null)" != "$lock" ]; then
    echo "docs: setting up $tools"
    rm -rf "$tools"
    index=$(.venv/bootstrap/bin/python -m pip config get global.index-url 2>/dev/null || true)
    [ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
    export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
    .venv/bootstrap/bin/uv venv --quiet --python .venv/bin/python "$tools"
    VIRTUAL_ENV=$tools .venv/bootstrap/bin/uv pip sync --quiet --require-hashes tools/docs.lock
    echo "$lock" >"$tools/.ready"
fi
"$python" -m tools.docs.reference 2>/dev/null
"$python" -m tools.docs.architecture 2>/dev/null
"$tools/bin/python" -m sphinx --fail-on-warning --keep-going --quiet -b html -d build/doctrees docs build/docs
"$tools/bin/python" tools/docs/check_site.py build/docs
echo "docs: open build/docs/index.html"
