#!/bin/bash
# Installs what the tests need and runs them.
#
#   tools/test.sh                       all tests except those with third parties' programs
#   tools/test.sh peers                 the tests with third parties' programs
#   tools/test.sh [pytest's arguments]  these tests, one after the other
#
# Without arguments, the real-time tests come first, because they judge sound: a call that waits 40 ms
# for a processor has a gap. Then come the browser's tests, two at a time. Beside both the pure tests
# take the processor time that is left (SCHED_IDLE).
#
# A real-time test that fails beside others runs once more with nothing beside it, and its second
# result counts. A pure test runs once.
set -euo pipefail
cd "$(dirname "$0")/.."

# If everything can be installed, a test whose program is missing fails.
if tools/setup.sh may-install; then
    export SPECH_REQUIRE_ASTERISK=${SPECH_REQUIRE_ASTERISK:-1}
    export SPECH_REQUIRE_BROWSER=${SPECH_REQUIRE_BROWSER:-1}
    export SPECH_REQUIRE_PEERS=${SPECH_REQUIRE_PEERS:-1}
fi

real_time() { .venv/bin/pytest -q -o cache_dir=.pytest_cache/real-time "$@"; }

# alone ARGUMENTS...: run those that failed once more, if all files can be imported.
alone() {
    echo "spech: some tests failed beside others; they run once more, alone:"
    real_time --collect-only -qq "$@" >/dev/null &&
        real_time --last-failed --last-failed-no-failures none --maxfail 5 "$@"
}

if [ "${1:-}" = peers ]; then
    shift
    tools/setup.sh peers
    real_time -n 4 --dist loadfile -m peers tests/peers "$@" || alone -m peers tests/peers "$@"
elif [ $# -gt 0 ]; then
    tools/setup.sh peers
    exec .venv/bin/pytest "$@"
else
    tools/setup.sh test
    log=$(mktemp)
    trap 'rm -f "$log"; kill $(jobs -p) 2>/dev/null || true' EXIT
    failed=0
    passed=1
    tools/idle.sh .venv/bin/pytest -q -n "$(nproc)" --dist worksteal -m "not real_time" >"$log" 2>&1 &
    pure=$!
    real_time -n 5 --dist loadfile -m "real_time and not peers" --ignore=tests/browser || passed=0
    real_time -n 2 --dist load tests/browser || passed=0
    wait $pure || failed=1
    cat "$log"
    [ $passed = 1 ] || alone -m "real_time and not peers" || failed=1
    exit $failed
fi
