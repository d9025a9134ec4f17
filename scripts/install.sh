#!/usr/bin/env bash
# Give .venv what a make target needs, once: `scripts/install.sh run` for the demo, `scripts/install.sh dev` for the rest.
#
# A stamp holds a hash of all that decides the installation; while it matches, nothing is done and no network is needed.
# An installation that broke off leaves no stamp and is done again.
#   PYTHON           the interpreter to use (default: python3.11, python3.12 or python3, the first that fits)
#   TORCH_INDEX_URL  a package index to take PyTorch from, such as PyTorch's own for CPU builds (default: pip's)
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${1:?usage: scripts/install.sh run|dev}
case $profile in
    run) extras=train,plots,video ;;
    dev) extras=dev ;;
    *) echo "scripts/install.sh: unknown profile '$profile'; known: run, dev" >&2; exit 2 ;;
esac
venv=.venv
log=$venv/install.log

say() { echo "bellmark: $*"; }
fail() { printf 'bellmark: error: %s\n' "$1" >&2; shift; for line in "$@"; do printf '  %s\n' "$line" >&2; done; exit 1; }

key() { # of a profile: the folder counts because a virtual environment cannot be moved
    { cat pyproject.toml constraints.txt scripts/install.sh; echo "$1 ${TORCH_INDEX_URL:-} $PWD"; } | sha256sum | cut -d' ' -f1
}
installed() { [ "$(cat "$venv/.installed-$1" 2>/dev/null)" = "$(key "$1")" ]; }
fits() { "$@" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1; }

if fits $venv/bin/python && { installed "$profile" || installed dev; }; then exit 0; fi

usable() { # a working environment of this very folder: nothing else is ever cleared
    fits $venv/bin/python && $venv/bin/python -m pip --version >/dev/null 2>&1 && grep -qF "$PWD/$venv" $venv/bin/activate
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
        if fits "$candidate"; then echo "$candidate"; return; fi
    done
    fail "${PYTHON:-Python} is not Python 3.11 or 3.12" \
        "Debian 12, Ubuntu 24.04: sudo apt install python3 python3-venv" \
        "elsewhere: install one of them and run PYTHON=/path/to/python3.12 make ..."
}

create() {
    local python version
    python=$(find_python)
    version=$("$python" -c 'import platform; print(platform.python_version())')
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        fail "$python ($version) cannot create virtual environments" \
            "Debian, Ubuntu: sudo apt install python${version%.*}-venv (or python3-venv)"
    fi
    say "creating $venv with Python $version"
    "$python" -m venv --clear $venv
}

install() { # what it is, then pip's arguments
    say "installing $1"
    if ! $venv/bin/python -m pip install --disable-pip-version-check --retries 2 -c constraints.txt "${@:2}" >>$log 2>&1; then
        if grep -qiE 'name resolution|network is unreachable|connection (refused|reset|timed out)|NewConnectionError|Read timed out' $log; then
            fail "no package index can be reached: the first installation needs the network (later runs do not)" "log: $log"
        fi
        tail -n 15 $log >&2
        fail "installing $1 failed; the whole log is $log"
    fi
}

began=$SECONDS
if ! usable; then
    if [ -d $venv ] && ! fits $venv/bin/python && $venv/bin/python -c '' >/dev/null 2>&1; then
        fail "$PWD/$venv holds another Python than 3.11 or 3.12; remove or rename it, and call again"
    fi
    create
fi
rm -f $venv/.installed-*
: >$log
torch=$(grep '^torch==' constraints.txt)
if [ -n "${TORCH_INDEX_URL:-}" ]; then
    install "$torch from TORCH_INDEX_URL (minutes; log: $log)" --no-deps --index-url "$TORCH_INDEX_URL" "$torch"
else
    install "$torch (minutes; log: $log)" "$torch"
fi
install "the build backend" hatchling editables
install "bellmark[$extras] with pinned versions" --no-build-isolation -e ".[$extras]"
key "$profile" >"$venv/.installed-$profile"
say "installed in $((SECONDS - began)) s"
