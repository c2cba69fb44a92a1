#!/bin/bash
# Feeds every parser and a whole running call with damaged input: tools/fuzz.sh [seconds of each kind]
#
# Interesting inputs are kept under ~/.cache/spech/fuzz (or $SPECH_CACHE), so that the next run
# continues from them. A failing input is kept there as well, and ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
inputs=${SPECH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/spech}/fuzz

tools/setup.sh fuzz
mkdir -p "$inputs"/{sip,rtp}
.venv/bin/python -m tests.fuzz.parsers --seeds "$inputs"
.venv/bin/python tests/fuzz/rtp.py --seeds "$inputs/rtp"
.venv/bin/python -m tests.fuzz.parsers all -max_total_time="$seconds" -artifact_prefix="$inputs/" "$inputs/all"
.venv/bin/python tests/fuzz/sip.py -max_total_time="$seconds" -artifact_prefix="$inputs/" "$inputs/sip" tests/sip/data
.venv/bin/python tests/fuzz/rtp.py -max_total_time="$seconds" -artifact_prefix="$inputs/" "$inputs/rtp"
.venv/bin/python bench/fuzz_call.py --minutes "$(awk "BEGIN { print $seconds / 60 }")"
