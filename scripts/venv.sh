# Sourced by ./run and ./test: finds a Python that is new enough, makes .venv beside this checkout, and installs the
# package into it when what it was made from has changed. Settings of pip (PIP_* or pip.conf) hold as they are.

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

new_enough='import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)'

find_python() {
    # $PYTHON decides alone where it is set: a silent other choice would be a surprise.
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON: no such program"
        "$PYTHON" -c "$new_enough" 2>/dev/null ||
            fail "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1): p2pframe needs Python 3.11 or newer"
        return
    fi
    found=
    for PYTHON in python3 python3.14 python3.13 python3.12 python3.11 python; do
        command -v "$PYTHON" >/dev/null 2>&1 || continue
        "$PYTHON" -c "$new_enough" 2>/dev/null && return
        found="$found $PYTHON ($("$PYTHON" --version 2>&1))"
    done
    fail "p2pframe needs Python 3.11 or newer; found:${found:- no python at all}. Install one, or name it: PYTHON=/path/to/python3.11 $0"
}

# ensure_venv WHAT REQUIREMENT: leaves $venv, with REQUIREMENT (of this checkout) installed in it.
ensure_venv() {
    venv=${P2PFRAME_VENV:-$root/.venv}
    stamp="$venv/.installed-$1"
    # The folder's own path belongs to it: a venv does not survive a move.
    wanted="$root $venv $(cat "$root/setup.cfg" "$root/pyproject.toml" "$root/p2pframe/__init__.py" | cksum)"
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "$new_enough" 2>/dev/null &&
        [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    find_python
    # Another venv's Python would do, but what points at this one should not outlive that one.
    if ! { [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "$new_enough" 2>/dev/null; }; then
        # Newer versions of tox leave a file of that name (PEP 832), which points at an environment of theirs.
        if [ -f "$venv" ]; then rm "$venv"; fi
        say "making $venv with $("$PYTHON" --version 2>&1)"
        "$PYTHON" -m venv --clear "$venv" || {
            rm -rf "$venv"
            fail "$PYTHON -m venv failed; on Debian and Ubuntu: apt install python3-venv"
        }
    fi
    say "installing p2pframe and what it needs into $venv"
    "$venv/bin/python" -m pip install --quiet --editable "$2" ||
        fail "pip could not install what p2pframe needs: its message is above"
    printf '%s\n' "$wanted" >"$stamp"
}
