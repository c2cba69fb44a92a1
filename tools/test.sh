#!/bin/bash
# Installs what the tests need and runs them.
#
#   tools/test.sh                       all tests except those with third parties' programs
#   tools/test.sh peers                 the tests with third parties' programs
#   tools/test.sh [pytest's arguments]  these tests, one after the other
#
# Without arguments, the pure tests run on the processor time that the others leave (SCHED_IDLE).
# Meanwhile the tests with Asterisk run before everything else (SCHED_RR), and then the rest of what
# needs real time, the browser's tests in one worker.
#
# A call through Asterisk that waits 40 ms for a processor has a gap, and its test fails. Where the
# priorities may not be set, all tests have the usual one.
set -euo pipefail
cd "$(dirname "$0")/.."

# If everything can be installed, a test whose program is missing fails.
if tools/setup.sh may-install; then
    export SPECH_REQUIRE_ASTERISK=${SPECH_REQUIRE_ASTERISK:-1}
    export SPECH_REQUIRE_BROWSER=${SPECH_REQUIRE_BROWSER:-1}
    export SPECH_REQUIRE_PEERS=${SPECH_REQUIRE_PEERS:-1}
fi

# What runs a command on the time that is left, and what runs one before all others.
idle="" first=""
if chrt --idle 0 true 2>/dev/null; then idle="chrt --idle 0"; fi
if chrt --rr 1 true 2>/dev/null; then first="chrt --rr 1"; fi

if [ "${1:-}" = peers ]; then
    shift
    tools/setup.sh peers
    $first .venv/bin/pytest -q -n 2 --dist loadfile -m peers tests/peers "$@"
elif [ $# -gt 0 ]; then
    tools/setup.sh peers
    exec .venv/bin/pytest "$@"
else
    log=$(mktemp)
    trap 'kill $(jobs -p) 2>/dev/null; rm -f "$log"' EXIT
    tools/setup.sh pure
    $idle .venv/bin/pytest -q -n "$(nproc)" --dist worksteal -m "not real_time" >"$log" 2>&1 &
    pure=$!
    tools/setup.sh test
    failed=0
    $first .venv/bin/pytest -q -n 2 --dist loadfile tests/asterisk || failed=1
    .venv/bin/pytest -q -n 2 --dist loadfile -m "real_time and not peers" --ignore=tests/asterisk || failed=1
    wait $pure || failed=1
    cat "$log"
    exit $failed
fi
