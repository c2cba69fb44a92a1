#!/bin/bash
# Installs what the tests need and runs them.
#
#   tools/test.sh                       all tests but those with third parties' programs
#   tools/test.sh peers                 the tests with third parties' programs
#   tools/test.sh [pytest's arguments]  these tests, one after the other
#
# Without arguments, the pure tests run on all processors, while the programs for the others are
# being installed. The real-time tests run one after the other: they judge sound, and a browser or a
# second call beside them leaves gaps in it on a machine with two processors.
set -euo pipefail
cd "$(dirname "$0")/.."

# Where everything can be installed, a test that finds nothing to test against has failed.
if tools/setup.sh may-install; then
    export SPECH_REQUIRE_ASTERISK=${SPECH_REQUIRE_ASTERISK:-1}
    export SPECH_REQUIRE_BROWSER=${SPECH_REQUIRE_BROWSER:-1}
    export SPECH_REQUIRE_PEERS=${SPECH_REQUIRE_PEERS:-1}
fi

if [ "${1:-}" = peers ]; then
    shift
    tools/setup.sh peers
    .venv/bin/pytest -q -m peers tests/peers "$@"
elif [ $# -gt 0 ]; then
    tools/setup.sh peers
    exec .venv/bin/pytest "$@"
else
    tools/setup.sh pure
    tools/setup.sh test &
    failed=0
    .venv/bin/pytest -q --numprocesses "$(nproc)" --dist worksteal -m "not real_time" || failed=1
    wait $!
    .venv/bin/pytest -q -m "real_time and not peers" || failed=1
    exit $failed
fi
