#!/usr/bin/env bash
# From a fresh clone to a finished search campaign: makes .venv, installs, searches a blend on 5,000 digits of MNIST.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh examples  # the images lie in one of its packages
exec .venv/bin/blendsearch search search_spaces/mnist_5k.yaml "$@"
