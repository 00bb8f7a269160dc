# Sourced by the other scripts: goes to the repository root and puts its .venv, with requirements.txt, first on PATH.
# A python of 3.11 or later must be there; another one is named by PYTHON=... .
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: $PYTHON is not a Python of 3.11 or later; set PYTHON=/path/to/python3.11" >&2
    exit 2
fi

wanted=$(sha256sum requirements.txt | cut -d ' ' -f 1)
if [ "$(cat .venv/requirements.sha256 2>/dev/null)" != "$wanted" ]; then
    echo "== installing requirements.txt into .venv"
    if [ ! -x .venv/bin/python ]; then
        rm -rf .venv
        "$PYTHON" -m venv .venv
    fi
    # torch by itself first: beside the others, a resolver may prefer another build of it
    .venv/bin/python -m pip install -q --disable-pip-version-check "$(grep '^torch==' requirements.txt)"
    .venv/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt
    echo "$wanted" > .venv/requirements.sha256
fi
export PATH="$PWD/.venv/bin:$PATH"
