#!/usr/bin/env bash
# Makes .venv with the development extra and runs the tests; --all also runs the slow ones.
# Further arguments go to pytest: scripts/test.sh tests/structure -k shortcut
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh dev
marker=(-m "not slow")
if [ "${1:-}" = "--all" ]; then
    marker=()
    shift
fi
# Tests run tiny networks: one thread a process is fastest. A process a core, and a file's tests in one of them, since
# many share what a campaign of the file left. In alphabetical order: else files of few tests come last, and those are
# the longest ones, of campaigns, for the end of which one process would wait.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec .venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder ${marker[@]+"${marker[@]}"} "$@"
