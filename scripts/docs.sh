#!/usr/bin/env bash
# Builds the documentation into site/ (or the folder given); every warning is an error. Open site/index.html: no server
# and no network needed. Usage: scripts/docs.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
if ! .venv/bin/python -c 'import material, mkdocstrings' 2>/dev/null; then scripts/setup.sh docs; fi
export NO_MKDOCS_2_WARNING=1
PYTHONPATH=. exec .venv/bin/python -m mkdocs build --strict --site-dir "${1:-site}"
