#!/bin/bash
# Installs what the tests need and runs them: tools/test.sh [pytest's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh test
# Where everything can be installed, a test that finds nothing to test against has failed.
if tools/setup.sh may-install; then
    export SPECH_REQUIRE_ASTERISK=${SPECH_REQUIRE_ASTERISK:-1}
    export SPECH_REQUIRE_BROWSER=${SPECH_REQUIRE_BROWSER:-1}
fi
exec .venv/bin/pytest "$@"
