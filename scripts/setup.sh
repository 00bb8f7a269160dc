# Sourced by the other scripts: goes to the repository root and puts its .venv, with requirements.txt and this package
# (editable), first on PATH. Files named in EXTRA, as EXTRA="requirements-train.txt", are installed too.
# A python of 3.11 or later must be there; another one is named by PYTHON=... .
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: $PYTHON is not a Python of 3.11 or later; set PYTHON=/path/to/python3.11" >&2
    exit 2
fi

pip_install() {
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-compile "$@"
}

# uv is several times faster, but knows nothing of pip's own settings: where there are some, as a mirror, pip is used.
fast_install() {
    if command -v uv >/dev/null && [ -z "$pip_settings" ]; then
        uv pip install -q --python .venv/bin/python "$@"
    else
        pip_install "$@"
    fi
}

# PyPI's torch for Linux brings 3 GB of CUDA libraries; where there is no NVIDIA GPU, the CPU build (200 MB) will do.
install_torch() {
    local source=()
    if [ -z "$pip_settings" ] && [ "$(uname -s)" = Linux ] && [ ! -e /dev/nvidiactl ]; then
        source=(--extra-index-url https://download.pytorch.org/whl/cpu)
    fi
    # by itself and by pip: beside the others, a resolver may prefer another build of it
    pip_install "$(grep '^torch==' requirements.txt)" "${source[@]}"
}

# A mark says what .venv has of a file: nothing is done where that is up to date.
install() {
    local file=$1 mark=.venv/${1%.txt}.sha256 wanted
    wanted=$(cat "${file:-requirements.txt}" pyproject.toml | sha256sum | cut -d ' ' -f 1)
    [ "$(cat "$mark" 2>/dev/null)" != "$wanted" ] || return 0
    echo "== installing $file into .venv"
    if [ ! -x .venv/bin/python ]; then
        rm -rf .venv
        "$PYTHON" -m venv .venv
    fi
    local pip_settings
    pip_settings=$(.venv/bin/python -m pip config list | grep -E 'index|find-links|constraint' || true)
    if [ "$file" = requirements.txt ]; then
        install_torch
        fast_install -r "$file"
        # setuptools is there by now (torch needs it), so that nothing more is downloaded
        pip_install --no-deps --no-build-isolation -e .
    else
        fast_install -r "$file"
    fi
    echo "$wanted" > "$mark"
}

for file in requirements.txt ${EXTRA:-}; do
    install "$file"
done
export PATH="$PWD/.venv/bin:$PATH"
# Images for containers often set this one. Packages are installed uncompiled, so that every command would compile all of
# torch and diffusers for itself: 25 s in place of 6.
unset PYTHONDONTWRITEBYTECODE
