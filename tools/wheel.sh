#!/bin/bash
# Builds a wheel of this platform, whose media is compiled by mypyc, and tests it.
#
#   tools/wheel.sh                            the wheel, in dist/
#   tools/wheel.sh test [pytest's arguments]  and the pure tests of what is compiled, on it
#
# Compiling takes some minutes. It happens in a copy of the sources, because the compiled modules lie
# beside them, and Python would prefer them from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/source" "$copy/wheel" "$copy/installed"
git ls-files -z spech frontend pyproject.toml README.md LICENSE |
    xargs -0 cp --parents --target-directory "$copy/source"
echo "spech: compiling"
HATCH_BUILD_HOOK_ENABLE_MYPYC=1 .venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps \
    --wheel-dir "$copy/wheel" "$copy/source"
mkdir -p dist
cp "$copy"/wheel/*.whl dist/
echo "spech: built dist/$(basename "$copy"/wheel/*.whl)"
[ "${1:-}" = test ] || exit 0

shift
.venv/bin/python -m zipfile -e "$copy"/wheel/*.whl "$copy/installed"
[ $# -gt 0 ] || set -- -m "not real_time" tests/rtp tests/media tests/codecs tests/audio
# Compiled classes and constants cannot be patched, as these tests do.
PYTHONPATH=$copy/installed .venv/bin/pytest -q \
    --deselect tests/rtp/test_stream.py::test_a_packet_that_triggers_a_bug_is_dropped_counted_and_logged_once \
    --deselect tests/media/test_playback.py::test_a_queue_holds_minutes_and_counts_dropped_sound \
    "$@"
