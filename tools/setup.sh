#!/bin/bash
# Installs what is needed to demonstrate, check or test Spech, and says what it does.
#
#   tools/setup.sh demo    what `make demo` needs: codec libraries, .venv, the package
#   tools/setup.sh check   what `make check` needs: .venv with the developer tools, Node.js, the page's checkers
#   tools/setup.sh instructions  what `make bench-check-compiled` needs: .venv, Valgrind
#   tools/setup.sh fuzz    what `make fuzz` needs: codec libraries, .venv
#   tools/setup.sh test    what `make test` needs: all of that, Asterisk, Chromium
#   tools/setup.sh peers   what `make test-peers` needs: all of that, the programs of third parties
#   tools/setup.sh system  the same without the environments of these programs
#   tools/setup.sh asterisk    only Asterisk's folder
#   tools/setup.sh docs    what `make docs` needs: MkDocs in an environment of its own
#
# Two can run at once: each waits for what the other one is installing.
#
# System packages are installed with apt, by root or through passwordless sudo. If that is not
# allowed, the command to run is printed and the script continues without them. A second run installs
# nothing again.
#
# PYTHON       the interpreter that .venv is made with (python3)
# SPECH_CACHE  where Asterisk and the peers' own environments live (~/.cache/spech)
set -euo pipefail
cd "$(dirname "$0")/.."

demo_packages=(libgsm1 libspeex1 libopus0 libbcg729-0)
pure_packages=("${demo_packages[@]}" tshark espeak-ng pocketsphinx-testdata)
# Playwright's own Node.js needs libatomic1.
test_packages=("${pure_packages[@]}" chromium libatomic1 debootstrap nftables iproute2)
peers_packages=("${test_packages[@]}" sip-tester baresip-core kamailio kamailio-websocket-modules linphone-cli coturn
    rtpengine-daemon caddy nginx-light firefox-esr webkit2gtk-driver xvfb pulseaudio)
cache=${SPECH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/spech}

mkdir -p "$cache"

say() { printf 'spech: %s\n' "$*"; }

# as_root COMMAND...: run it as root, or fail without asking for a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n -- "$@"
    else
        return 1
    fi
}

may_install() { command -v apt-get >/dev/null && as_root true 2>/dev/null; }

# lock NAME: wait for this lock, then hold it until the subshell ends.
lock() {
    exec 9>"$cache/$1.lock"
    flock --nonblock 9 || { say "waiting for another run that holds $1" && flock 9; }
}

# packages NAME...: install those of these Debian packages that are missing.
packages() (
    lock packages
    local name missing=()
    for name in "$@"; do
        if ! dpkg-query --show --showformat '${db:Status-Status}\n' "$name" 2>/dev/null |
            grep -qx installed; then
            missing+=("$name")
        fi
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! may_install; then
        say "these system packages are missing, and this user cannot install them. Run:"
        say "    sudo apt-get install --no-install-recommends ${missing[*]}"
        say "Continuing without them."
        return 0
    fi
    say "installing system packages: ${missing[*]}"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
    as_root "${apt[@]}" update || say "some package lists could not be updated; trying anyway"
    if ! as_root "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null; then
        say "apt could not install them (see above). Continuing without them."
    fi
)

# environment EXTRA: install the package into .venv, editable, with the extra "[dev]" or "".
environment() (
    lock environment
    local python=${PYTHON:-python3} extra=$1 stamp
    stamp=.venv/spech-$(cat pyproject.toml tools/requirements.lock | sha256sum | cut -c1-16)
    if [ -e "$stamp-dev" ] || { [ -z "$extra" ] && [ -e "$stamp" ]; }; then
        return 0
    fi
    if ! command -v "$python" >/dev/null; then
        packages python3 python3-venv
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        packages python3-venv
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "Python 3.11 or newer is needed, and $python is older. Name another one: PYTHON=python3.12 make ..."
        exit 1
    fi
    if [ ! -x .venv/bin/pip ]; then
        say "creating a virtual environment in .venv"
        "$python" -m venv .venv
    fi
    say "installing Spech and the Python packages it needs into .venv (a minute or two)"
    local pip=(.venv/bin/pip install --quiet --disable-pip-version-check --no-input)
    if [ -z "$extra" ]; then
        # Users run the tested versions of spech[all], each verified by its hash.
        "${pip[@]}" --require-hashes --requirement tools/requirements.lock
        "${pip[@]}" --no-deps --no-build-isolation --editable .
    else
        "${pip[@]}" --editable ".$extra"
    fi
    rm -f .venv/spech-*
    touch "$stamp${extra:+-dev}"
)

# frontend_tools: install the type checker and the linter of the page.
frontend_tools() {
    local folder=tools/frontend stamp
    stamp=$folder/node_modules/spech-$(sha256sum "$folder/package-lock.json" | cut -c1-16)
    [ ! -e "$stamp" ] || return 0
    command -v npm >/dev/null || packages nodejs npm
    say "installing the type checker and the linter of the page into $folder"
    npm ci --prefix "$folder" --silent --no-audit --no-fund
    touch "$stamp"
}

# mirror: print the first Debian mirror in this machine's APT sources.
mirror() {
    local address
    address=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
        awk 'tolower($1) == "uris:" { print $2; exit }')
    if [ -z "$address" ]; then
        address=$(awk '$1 == "deb" { sub(/\[[^]]*\] */, ""); print $2; exit }' /etc/apt/sources.list)
    fi
    case $address in # a file with a list of mirrors, as in Debian's cloud images
    mirror+file:*) address=$(awk '/^[a-z]/ { print $1; exit }' "${address#mirror+file:}") ;;
    esac
    printf '%s\n' "$address"
}

# pbx: create a separate Debian tree with Asterisk 22, because Debian 12 has none.
pbx() (
    local root=$cache/asterisk
    if [ -n "${SPECH_TEST_PBX:-}" ] || command -v asterisk >/dev/null || [ -d "$root" ]; then
        return 0
    fi
    if ! may_install || ! PATH="$PATH:/usr/sbin" command -v debootstrap >/dev/null; then
        say "Asterisk is missing, and this user cannot install it: its tests will be skipped."
        say "Run this once:  sudo SPECH_CACHE=$cache tools/setup.sh asterisk"
        say "Or put an asterisk on PATH, or set SPECH_TEST_PBX=host:port."
        return 0
    fi
    lock asterisk
    # The folder gets its final name when it is complete.
    if [ ! -d "$root" ]; then
        say "creating Asterisk's folder $root (once, about a minute, 500 MB)"
        local unfinished=$root.unfinished proxy
        as_root rm -rf --one-file-system "$unfinished"
        eval "$(apt-config shell proxy Acquire::http::Proxy)"
        # Debian 12's debootstrap has no script called forky; sid's is the same.
        if as_root env PATH="$PATH:/usr/sbin:/sbin" ${proxy:+http_proxy="$proxy"} \
            debootstrap --variant=minbase --include=asterisk,asterisk-core-sounds-en \
            forky "$unfinished" "$(mirror)" /usr/share/debootstrap/scripts/sid \
            >"$cache/asterisk.log" 2>&1 </dev/null; then
            as_root rm -rf "$unfinished/var/cache/apt" "$unfinished/var/lib/apt/lists"
            as_root mkdir -p -m 1777 "$unfinished/run/spech"
            as_root mv "$unfinished" "$root"
        else
            tail -n 5 "$cache/asterisk.log"
            say "Asterisk could not be installed (see $cache/asterisk.log). Continuing without it."
        fi
    fi
)

# peer NAME TITLE PACKAGE...: install packages from PyPI into an environment of their own.
#
# One with this package is brought up to date when the dependencies change.
peer() {
    local folder=$cache/peers/$1 title=$2 stamp
    shift 2
    stamp=$folder/spech-$({ echo "$@" && case $* in *.[*) cat pyproject.toml ;; esac; } |
        sha256sum | cut -c1-16)
    [ ! -e "$stamp" ] || return 0
    say "installing $title into $folder"
    "${PYTHON:-python3}" -m venv "$folder"
    if "$folder/bin/pip" install --quiet --disable-pip-version-check --no-input "$@"; then
        touch "$stamp"
    else
        say "$title could not be installed. Continuing without it."
    fi
}

# docs: install MkDocs into an environment of its own.
docs() (
    lock docs
    local folder=$cache/docs requirements=tools/site/requirements.txt
    if cmp --quiet "$requirements" "$folder/requirements.txt"; then
        return 0
    fi
    say "installing MkDocs into $folder"
    "${PYTHON:-python3}" -m venv --clear "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --no-input --requirement "$requirements"
    cp "$requirements" "$folder/requirements.txt"
)

# page: build the page with JsSIP.
page() {
    local jssip=$cache/peers/jssip page=tests/peers/page
    if cmp --quiet "$page/app.js" "$jssip/app.js" && [ -e "$jssip/bundle.js" ]; then
        return 0
    fi
    say "building a page with JsSIP in $jssip"
    mkdir -p "$jssip"
    rm -f "$jssip/bundle.js"
    cp "$page"/* "$jssip"
    (cd "$jssip" && npm ci --silent --no-audit --no-fund &&
        node_modules/.bin/esbuild app.js --bundle --log-level=warning --outfile=bundle.js) ||
        say "The page could not be built. Continuing without it."
}

# jambonz: install jambonz's SDK from npm, with a bot on it.
jambonz() {
    local folder=$cache/peers/jambonz source=tests/peers/jambonz
    if [ -e "$folder/node_modules" ] && diff -q --exclude=node_modules "$source" "$folder" >/dev/null; then
        return 0
    fi
    say "installing jambonz's SDK into $folder"
    mkdir -p "$folder"
    cp "$source"/* "$folder"
    (cd "$folder" && npm ci --silent --no-audit --no-fund) ||
        say "jambonz's SDK could not be installed. Continuing without it."
}

# peers: install programs of third parties from PyPI and npm, in separate environments, at once.
#
# The frameworks for bots are installed with the extras of this package, but their tests import the
# package from this folder.
peers() (
    lock peers
    command -v npm >/dev/null || packages nodejs npm
    peer pjsip PJSIP pjsua2-python==2.15.1.post1 &
    {
        peer pipecat Pipecat \
            ".[pipecat]" pipecat-ai==1.14.0 galcymedia==0.1.1 fastapi uvicorn websockets
        # It asks for Python 3.12 and runs on 3.11.
        peer pipecat pipecat-asterisk \
            --no-deps --ignore-requires-python pipecat-asterisk==0.1.4
    } &
    peer livekit "LiveKit Agents" ".[livekit]" livekit-agents==1.8.9 &
    # For make bench.
    peer bench "what the bench compares with" sipmessage==0.7.1 agent-transport==0.2.2 &
    peer twilio "Twilio's library" twilio==9.13.0 &
    peer radicale Radicale radicale==3.9.0 &
    page &
    jambonz &
    wait
)

case ${1:-} in
demo)
    packages "${demo_packages[@]}"
    environment ""
    ;;
check)
    environment "[dev]"
    frontend_tools
    ;;
instructions)
    packages valgrind
    environment "[dev]"
    ;;
fuzz)
    packages "${demo_packages[@]}"
    environment "[dev]"
    ;;
test)
    packages "${test_packages[@]}"
    pbx
    environment "[dev]"
    frontend_tools
    ;;
system)
    packages "${peers_packages[@]}"
    pbx
    environment "[dev]"
    ;;
peers)
    packages "${peers_packages[@]}"
    pbx
    peers
    environment "[dev]"
    ;;
asterisk)
    packages debootstrap
    pbx
    ;;
docs)
    docs
    ;;
may-install) # for tools/test.sh
    may_install
    ;;
*)
    say "usage: tools/setup.sh demo | check | instructions | fuzz | test | system | peers | asterisk | docs"
    exit 2
    ;;
esac
