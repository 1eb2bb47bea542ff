#!/usr/bin/env bash
# Makes .venv in the repository's root and installs blendsearch into it; does nothing when that is done already.
# Usage: scripts/setup.sh [EXTRA]     EXTRA: examples (the quickstart's images), timm, docs or dev (tests, linters, all of them)
set -euo pipefail
cd "$(dirname "$0")/.."
extra="${1:-}"
python="${PYTHON:-python3}"
stamp=".venv/.installed${extra:+-$extra}"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "blendsearch needs Python 3.10 or later; '$python' is not. Set PYTHON=/path/to/python3." >&2
    exit 2
fi
if [ ! -x .venv/bin/python ]; then
    echo "making .venv"
    "$python" -m venv .venv
fi
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    echo "installing blendsearch${extra:+ with the extra '$extra'} (the first time this takes a few minutes)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${extra:+[$extra]}"
    touch "$stamp"
fi
