"""Point clouds that can be turned with the mouse, inside one HTML file and without a network."""

from __future__ import annotations

import base64
import html

import numpy as np

from ..core.points import PointCloud
from .sheets import frame_of

MAX_POINTS = 15_000
"""Points of a cloud that are embedded; more are thinned evenly."""

SCRIPT = """
(function () {
  function bytes(text) {
    var raw = atob(text), out = new Uint8Array(raw.length);
    for (var i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out.buffer;
  }
  function draw(view, pose) {
    var size = view.canvas.width, image = view.context.createImageData(size, size);
    var pixels = new Uint32Array(image.data.buffer).fill(0xffffffff), depth = new Float32Array(size * size).fill(-1e9);
    var ct = Math.cos(pose.turn), st = Math.sin(pose.turn), cp = Math.cos(pose.tilt), sp = Math.sin(pose.tilt);
    var shown = 0, scale = size * 0.95 / 32767 * pose.zoom, xyz = view.points, dot = view.dot;
    for (var i = 0, k = 0; k < xyz.length; i++, k += 3) {
      var x = ct * xyz[k] - st * xyz[k + 1], away = st * xyz[k] + ct * xyz[k + 1], up = xyz[k + 2];
      var y = cp * up + sp * away, z = sp * up - cp * away;
      var column = Math.floor(size / 2 + x * scale), row = Math.floor(size / 2 - y * scale);
      for (var r = row; r < row + dot; r++) for (var c = column; c < column + dot; c++) {
        var at = r * size + c;
        if (r >= 0 && c >= 0 && r < size && c < size && z > depth[at]) {
          if (depth[at] === -1e9) shown++;
          depth[at] = z; pixels[at] = view.colors[i];
        }
      }
    }
    view.context.putImageData(image, 0, 0);
    view.canvas.dataset.shown = shown;
  }
  document.querySelectorAll(".clouds").forEach(function (group) {
    var pose = {turn: 0, tilt: 0.3, zoom: 1}, views = [], held = null;
    group.querySelectorAll("canvas").forEach(function (canvas) {
      var rgb = new Uint8Array(bytes(canvas.dataset.rgb)), colors = new Uint32Array(rgb.length / 3);
      for (var i = 0; i < colors.length; i++)
        colors[i] = 0xff000000 | rgb[3 * i + 2] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i];
      var view = {canvas: canvas, context: canvas.getContext("2d"), colors: colors,
                  points: new Int16Array(bytes(canvas.dataset.xyz)), dot: +canvas.dataset.dot};
      views.push(view);
      canvas.addEventListener("pointerdown", function (e) {
        held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId);
      });
      canvas.addEventListener("pointerup", function () { held = null; });
      canvas.addEventListener("pointermove", function (e) {
        if (!held) return;
        pose.turn += (e.clientX - held[0]) * 0.01; pose.tilt += (e.clientY - held[1]) * 0.01;
        held = [e.clientX, e.clientY]; show();
      });
      canvas.addEventListener("wheel", function (e) {
        e.preventDefault(); pose.zoom *= Math.exp(-e.deltaY * 0.001); show();
      }, {passive: false});
      canvas.addEventListener("keydown", function (e) {
        var keys = {ArrowLeft: [-0.15, 0, 1], ArrowRight: [0.15, 0, 1], ArrowUp: [0, -0.15, 1], ArrowDown: [0, 0.15, 1],
                    "+": [0, 0, 1.15], "-": [0, 0, 1 / 1.15]}, step = keys[e.key];
        if (!step) return;
        e.preventDefault(); pose.turn += step[0]; pose.tilt += step[1]; pose.zoom *= step[2]; show();
      });
      canvas.addEventListener("dblclick", function () { pose.turn = 0; pose.tilt = 0.3; pose.zoom = 1; show(); });
    });
    function show() { views.forEach(function (view) { draw(view, pose); }); }
    show();
    group.dataset.drawn = views.length;
  });
})();
"""
"""Draws every canvas in a `.clouds` element: drag or arrow keys turn, the wheel or + and - zoom, a double click goes
back."""


def viewer(clouds: dict[str, PointCloud], size: int = 300) -> str:
    """HTML of clouds side by side, turned together. They share the frame of the last one.

    Args:
      clouds: name -> points of a z-up frame.
    """
    centre, radius = frame_of(list(clouds.values())[-1])
    figures = []
    for name, cloud in clouds.items():
        shown = cloud[np.isfinite(cloud.points).all(1)]
        shown = shown[np.random.default_rng(0).permutation(len(shown))[:MAX_POINTS]]
        place = np.clip((shown.points - centre) / (2 * radius), -1, 1)
        light = np.array([0.4, -0.5, 0.77])
        shade = 0.6 + 0.4 * np.abs(shown.normals @ light)
        rgb = np.clip(shown.colors * shade[:, None] * 255, 0, 255)
        dot = 2 if len(shown) > 6000 else 4
        figures.append(
            f'<figure><canvas width="{size}" height="{size}" data-dot="{dot}" tabindex="0" role="img" '
            f'aria-label="{html.escape(name)}: points; arrow keys turn them, + and - zoom" '
            f'data-xyz="{_base64(np.rint(place * 32767).astype("<i2"))}" '
            f'data-rgb="{_base64(np.rint(rgb).astype("u1"))}"></canvas>'
            f"<figcaption>{html.escape(name)} ({len(cloud)} points)</figcaption></figure>"
        )
    return f'<div class="clouds">{"".join(figures)}</div>'


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
