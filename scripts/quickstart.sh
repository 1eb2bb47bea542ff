#!/usr/bin/env bash
# From a fresh clone to a finished search campaign: makes .venv, installs, searches a blend on handwritten digits.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
exec .venv/bin/blendsearch search search_spaces/digits.yaml "$@"
