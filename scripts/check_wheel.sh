#!/usr/bin/env bash
# Builds a wheel, installs it into a bare environment and runs a small search there, away from the sources.
# What the wheel depends on is taken from .venv, which takes seconds and not the minutes of installing torch again; that
# all of it is named among the dependencies is checked by scripts/check_wheel.py. Usage: scripts/check_wheel.sh
set -euo pipefail
cd "$(dirname "$0")/.."
installed="$(.venv/bin/python -Ic 'import sys; print(*(path for path in sys.path if path.endswith("-packages")), sep="\n")')"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# From a copy: setuptools leaves a folder build/, from which files that were deleted since would get into the next wheel.
mkdir "$work/sources"
git ls-files -co --exclude-standard -z -- blendsearch search_spaces pyproject.toml setup.py MANIFEST.in README.md LICENSE |
    while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
    tar --null --files-from=- -cf - | tar -xf - -C "$work/sources"
.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work" "$work/sources"
wheel="$(echo "$work"/*.whl)"
echo "built $(basename "$wheel"), $(du -k "$wheel" | cut -f1) kB"

.venv/bin/python scripts/check_wheel.py "$wheel"

"${PYTHON:-.venv/bin/python}" -m venv "$work/bare"
"$work/bare/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index "$wheel"
bare="$("$work/bare/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
echo "$installed" > "$bare/from_venv.pth"    # behind the wheel's own files on the path

mkdir "$work/elsewhere"
cd "$work/elsewhere"
unset PYTHONPATH
export PATH="$work/bare/bin:$PATH" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
python -c "import blendsearch, sys; assert blendsearch.__file__.startswith('$bare'), blendsearch.__file__"
blendsearch --version
blendsearch list criteria > criteria.txt
grep -q taylor criteria.txt
blendsearch schema > space.schema.json
blendsearch init --example digits --quiet
blendsearch search digits.yaml 'criteria=[l1, fpgm, taylor]' clusters.count=2 search.population=4 search.generations=1 \
    search.random_search=false search.rivals=false training.epochs=1 retraining.epochs=0.2 retraining.seeds=1 \
    compute.workers=1 --run-dir run --quiet
for file in report.html summary.json blend.json plan.json network.safetensors; do test -s "run/$file"; done
echo "the wheel works in a bare environment"
