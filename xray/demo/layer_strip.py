"""The layers of an X-Ray as a strip to scrub through, beside a drawing of the order in which a ray meets them."""

from __future__ import annotations

import base64
import html
import io
import json

import numpy as np
from PIL import Image

from ..core.xray import XRay
from ..visual.sheets import layer_pictures

KINDS = ("colour", "normal", "depth")
SIDE_PX = 256

DIAGRAM = """
<svg viewBox="0 0 300 170" role="img" aria-label="A ray leaves the eye and crosses a mug: it meets the front of the near
wall, the inside of the near wall, the inside of the far wall and the back of the far wall. These are layers 1 to 4.">
<path d="M120 40v78q0 14 14 14h86q14 0 14-14v-78h-12v74q0 6-6 6h-78q-6 0-6-6v-74z" fill="#e4e4e7" stroke="#71717a"/>
<path d="M22 80q12-14 24 0q-12 14-24 0z" fill="#fff" stroke="#3f3f46"/><circle cx="35" cy="80" r="5" fill="#3f3f46"/>
<path d="M48 80h236m-8-5l8 5-8 5" fill="none" stroke="#ea580c" stroke-width="2"/>
{dots}
<text x="150" y="158" text-anchor="middle">each ray notes every surface it crosses, in order</text></svg>
"""
DOTS = ((120, -1), (132, 1), (222, -1), (234, 1))
"""Where the ray of the drawing crosses a surface, and the side that its number stands on."""

CSS = """
* { box-sizing: border-box; }
body { margin: 0; font: 14px system-ui, sans-serif; color: #3f3f46; background: #fff; }
.top { display: flex; flex-wrap: wrap; gap: 12px; align-items: center; }
.top > * { flex: 1 1 250px; min-width: 0; }
#large { display: block; margin: auto; width: 256px; height: 256px; max-width: 100%; object-fit: contain; }
svg { width: 100%; max-height: 190px; font: 11px system-ui, sans-serif; }
svg circle.dot { fill: #a1a1aa; } svg circle.dot.now { fill: #ea580c; }
.strip { display: flex; gap: 4px; overflow-x: auto; margin: 8px 0 4px; }
.strip button { flex: 1 0 44px; max-width: 110px; padding: 0; border: 2px solid #e4e4e7; border-radius: 6px;
  background: #fff; cursor: pointer; }
.strip button[aria-pressed=true] { border-color: #ea580c; } .strip img { width: 100%; display: block; }
input[type=range] { width: 100%; margin: 0; accent-color: #ea580c; }
fieldset { border: 0; margin: 0; padding: 0; display: flex; gap: 14px; } label { cursor: pointer; }
p { margin: 4px 0; }
"""

SCRIPT = """
(function () {
  var large = document.getElementById("large"), range = document.getElementById("layer");
  var buttons = Array.from(document.querySelectorAll(".strip button")), said = document.getElementById("said");
  var kind = "colour";
  function show() {
    var number = +range.value;
    large.src = PICTURES[kind][number - 1];
    large.alt = kind + " of layer " + number;
    said.textContent = WORDS[number - 1];
    range.setAttribute("aria-valuetext", WORDS[number - 1]);
    buttons.forEach(function (button, index) {
      button.setAttribute("aria-pressed", index === number - 1);
      button.firstChild.src = PICTURES[kind][index];
    });
    document.querySelectorAll("circle.dot").forEach(function (dot, index) {
      dot.classList.toggle("now", index === number - 1);
    });
    document.body.dataset.shown = kind + " " + number;
  }
  range.addEventListener("input", show);
  buttons.forEach(function (button, index) {
    button.addEventListener("click", function () { range.value = index + 1; show(); });
  });
  document.querySelectorAll("input[name=kind]").forEach(function (choice) {
    choice.addEventListener("change", function () { kind = choice.value; show(); });
  });
  show();
})();
"""


def layer_strip(xray: XRay, near: float, far: float) -> str:
    """HTML of a frame that needs nothing from anywhere: a slider through the layers, as colour, normal or depth.

    Args:
      near, far: depths of the brightest and the darkest.
    """
    layers = [layer for layer in range(xray.shape[0]) if xray.hit[layer].any()] or [0]
    drawn = [layer_pictures(xray, layer, near, far) for layer in layers]
    pictures = {kind: [_data(picture[kind]) for picture in drawn] for kind in KINDS}
    words = [_words(xray, layer) for layer in layers]
    buttons = "".join(
        f'<button type="button" aria-label="layer {layer + 1}" aria-pressed="false"><img alt=""></button>'
        for layer in layers
    )
    kinds = "".join(
        f'<label><input type="radio" name="kind" value="{kind}"{" checked" if kind == KINDS[0] else ""}> {kind}</label>'
        for kind in KINDS
    )
    body = (
        f'<div class="top"><img id="large" alt=""><div>{diagram(len(layers))}</div></div>'
        f'<label for="layer">Layer, from the front to the back</label>'
        f'<input type="range" id="layer" min="1" max="{len(layers)}" value="1" step="1">'
        f'<p id="said" aria-live="polite"></p><div class="strip">{buttons}</div>'
        f"<fieldset><legend hidden>What is shown</legend>{kinds}</fieldset>"
    )
    data = f"var PICTURES = {_script(pictures)}, WORDS = {_script(words)};"
    content = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>layers</title><style>{CSS}</style>'
        f"<body>{body}<script>{data}{SCRIPT}</script></body></html>"
    )
    return f'<iframe title="layers of the X-Ray" sandbox="allow-scripts" srcdoc="{html.escape(content)}"></iframe>'


def diagram(layers: int) -> str:
    """SVG of a ray through a cut mug, with a dot for each of up to four layers."""
    dots = "".join(
        f'<circle class="dot" cx="{x}" cy="80" r="5"/><text x="{x + 10 * side}" y="70" text-anchor="middle">'
        f"{number + 1}</text>"
        for number, (x, side) in enumerate(DOTS[: max(layers, 1)])
    )
    return DIAGRAM.format(dots=dots)


def _words(xray: XRay, layer: int) -> str:
    share = xray.hit[layer].mean() / max(float(xray.hit[0].mean()), 1e-9)
    if layer == 0:
        return "Layer 1: what the picture shows, the first surface of every ray."
    return f"Layer {layer + 1}: surface number {layer + 1} on its ray; {share:.0%} of the object's rays have one."


def _data(picture: np.ndarray) -> str:
    """A picture as an address that holds it, of whole pixels at about `SIDE_PX`."""
    image = Image.fromarray(picture)
    if image.width < SIDE_PX:
        image = image.resize((SIDE_PX, SIDE_PX * image.height // image.width), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=88, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _script(value) -> str:
    """JSON that may stand in a script."""
    return json.dumps(value).replace("<", "\\u003c")
