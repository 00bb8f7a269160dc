#!/usr/bin/env bash
# Renders the meshes of custom/mesh_list.json; further flags go to render.py, as --mesh_root and --image_root.
#   cd preprocess/get_image && bash custom/render_mesh.sh
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$here/../../../.venv/bin/python"
[ -x "$python" ] || python=python
case " $* " in
*" --mesh_root"* | *" --mesh_list"*) exec "$python" "$here/../render.py" "$@" ;;
*) exec "$python" "$here/../render.py" --mesh_list "$here/mesh_list.json" "$@" ;;
esac
