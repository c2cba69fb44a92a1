#!/bin/bash
# Builds a wheel of this platform, whose pure parts mypyc has compiled, and tests it.
#
#   tools/wheel.sh                            the wheel, in dist/
#   tools/wheel.sh test [pytest's arguments]  and the pure tests, or these tests, on it
#   tools/wheel.sh costs [its arguments]      and bench/instructions.py on it
#
# Compiling takes minutes, so the last wheels are kept, each under a hash of what it was made from.
# It happens in a copy of the sources, because the compiled modules lie beside them, and Python would
# prefer them from then on. The tests run in such a copy as well, so that a program that they start
# runs the compiled modules too.
#
# SPECH_CACHE  where the wheels are kept (~/.cache/spech)
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${SPECH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/spech}/wheels

sources() { git ls-files -z spech frontend pyproject.toml README.md LICENSE; }
compile() {
    HATCH_BUILD_HOOK_ENABLE_MYPYC=1 .venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps \
        --wheel-dir "$copy/wheel" "$copy/source"
}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

folder=$cache/$({ .venv/bin/python -VV && sources | xargs -0 sha256sum; } | sha256sum | cut -c1-16)
mkdir -p "$cache" dist
(
    flock 9
    if [ ! -d "$folder" ]; then
        echo "spech: compiling"
        mkdir "$copy/source"
        sources | xargs -0 cp --parents --target-directory "$copy/source"
        # It fetches the compiler, and a network may fail for a moment.
        compile || { echo "spech: the wheel could not be built (see above); trying once more" && compile; }
        mv "$copy/wheel" "$folder"
        find "$cache" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -nr | tail -n +5 |
            cut -d' ' -f2- | xargs -r rm -rf
    fi
    touch "$folder"
    cp "$folder"/*.whl dist/
) 9>"$cache/lock"
echo "spech: built dist/$(basename "$folder"/*.whl)"
[ $# -gt 0 ] || exit 0

task=$1
shift
tree=$copy/tree
mkdir "$tree"
git ls-files -z | xargs -0 cp -P --parents --target-directory "$tree"
.venv/bin/python -m zipfile -e "$folder"/*.whl "$tree"
ln -s "$PWD/.venv" "$tree/.venv"
ln -s "$PWD/tools/frontend/node_modules" "$tree/tools/frontend/node_modules"
here=$PWD
cd "$tree"
export PYTHONPATH=$tree
case $task in
test)
    [ $# -gt 0 ] || set -- -n "$(nproc)" --dist worksteal -m "not real_time"
    .venv/bin/pytest -q "$@"
    ;;
costs)
    .venv/bin/python -m bench.instructions "$@"
    cp bench/instructions.json "$here/bench/"
    ;;
esac
