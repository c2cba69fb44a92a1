#!/bin/bash
# Builds the documentation into site/, with what `tools/setup.sh docs` has installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${SPECH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/spech}
export NO_MKDOCS_2_WARNING=1
"$cache/docs/bin/mkdocs" build --quiet --strict --config-file tools/site/mkdocs.yml
if grep -rlE '<(script|link|img)[^>]* (src|href)="?https?:' --include='*.html' site; then
    echo "These pages load something from other hosts." >&2
    exit 1
fi
echo "The site is in site/index.html"
