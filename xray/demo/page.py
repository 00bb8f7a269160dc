"""The page of the demo: its fields, and what of a visitor's work is shown when."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ..common.errors import InputError
from ..core.points import PointCloud
from ..inference.image_to_mesh import GeneratedShape
from ..surface.surface import METHODS
from ..visual import point_viewer
from .layer_strip import layer_strip
from .limits import MAX_GUIDANCE
from .session import DemoJob, DemoJobs, DemoShape

TITLE = "One picture to a mesh"

INTRODUCTION = f"""# {TITLE}
Choose a picture of **one object** before a plain or transparent background, and press **Make it 3D**.
The networks predict every surface that a ray through the picture would cross: front, inside and back."""

CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.gradio-container { --block-info-text-color: #52525b; }
.view iframe, .layers iframe { width: 100%; border: 0; display: block; }
.view iframe { height: 374px; }
.layers iframe { height: 460px; }
.view .hint { padding: 160px 20px 0; text-align: center; }
.hint { color: #52525b; font-size: .95em; }
.times table { border-collapse: collapse; width: 100%; margin-top: 18px; font-size: .9em; }
.times td { padding: 1px 6px !important; }
.times table, .times tr, .times td { border: 0 !important; }
.times tr.sum td { border-top: 1px solid #d4d4d8 !important; font-weight: 600; }
.times td + td { text-align: right; font-variant-numeric: tabular-nums; }
footer { display: none !important; }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; min-width: 0 !important; }
  #examples .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
  .row { flex-wrap: wrap !important; }
  .row > button { min-width: 140px !important; }
  .layers iframe { height: 680px; }
  .stack { flex-direction: column !important; }
  .stack > * { width: 100% !important; min-width: 0 !important; flex: none !important; }
  button:not(.reset-button) { min-height: 44px !important; min-width: 44px !important; }
  label:has(> input[type=radio]) { min-height: 44px !important; }
  .label-wrap { align-items: center !important; }
  input[type=number] { min-height: 40px !important; }
  .tab-like-container { height: 42px !important; }
}
"""

SCRIPT = """
() => {
  document.documentElement.lang = "en";
  const labels = [["#mesh canvas", "the mesh; drag to turn it"], ["#picture img", "your picture"],
                  ["#cutout img", "the object, cut out"], ["#layers img", "all layers of the X-Ray on one sheet"]];
  const label = () => labels.forEach(([where, words]) => document.querySelectorAll(where).forEach(part => {
    if (part.getAttribute("aria-label") === words) return;
    part.setAttribute("aria-label", words);
    if (part.tagName === "CANVAS") { part.setAttribute("role", "img"); part.tabIndex = 0; }
    else part.alt = words;
  }));
  label();
  new MutationObserver(label).observe(document.body, {childList: true, subtree: true});
}
"""
"""Names for what gradio leaves without one, so that a screen reader can say it."""

FRAME_CSS = """
html, body { margin: 0; height: 100%; overflow: hidden; background: #fff; }
body { font: 13px system-ui, sans-serif; color: #52525b; }
.clouds, figure { margin: 0; height: 100%; text-align: center; }
canvas { height: calc(100% - 22px); max-width: 100%; object-fit: contain; cursor: grab; touch-action: none; }
"""

NOTHING_YET = '<p class="hint">The points appear here: drag turns them, the wheel zooms.</p>'

PROGRESS = gr.Progress()


@dataclass(frozen=True)
class Fields:
    """The parts of the page that are filled while a picture is worked on.

    `mesh_file` holds the path for `mesh`, which is filled by one event after all others (`_mesh_once`). `token` names
    the work, and is kept by the browser, so that a page that is loaded again finds it.
    """

    token: gr.BrowserState
    picture: gr.Image
    mesh: gr.Model3D
    mesh_file: gr.State
    points: gr.HTML
    downloads: dict[str, gr.DownloadButton]
    shape: gr.Slider
    cutout: gr.Image
    times: gr.HTML
    strip: gr.HTML
    layers: gr.Image

    def all(self) -> list[gr.components.Component]:
        """All that is filled, but the visitor's picture."""
        shown = [self.mesh, self.mesh_file, self.points, *self.downloads.values(), self.shape, self.cutout]
        return [self.token, *shown, self.times, self.strip, self.layers]

    def empty(self) -> dict[gr.components.Component, Any]:
        """What they show before anything is made."""
        downloads = {button: gr.update(value=None, interactive=False) for button in self.downloads.values()}
        nothing = dict.fromkeys((self.cutout, self.layers, self.mesh, self.mesh_file))
        hidden = {self.shape: gr.update(visible=False, value=1)}
        return nothing | downloads | hidden | {self.points: NOTHING_YET, self.times: "", self.strip: ""}

    def show(self, shape: DemoShape, depths: tuple[float, float]) -> dict[gr.components.Component, Any]:
        """What has been made of a shape so far. depths: the nearest and the farthest."""
        made = shape.made
        new: dict[gr.components.Component, Any] = {self.times: times_table(made, shape.files.get("glb"))}
        if shape.layers is not None:
            new |= {self.layers: str(shape.layers), self.points: points_view(made.cloud)}
            new[self.strip] = layer_strip(made.xray, *depths)
        if shape.files:
            new[self.mesh_file] = str(shape.files["glb"]) if "glb" in shape.files else None
            for kind, path in shape.files.items():
                new[self.downloads[kind]] = gr.update(value=str(path), interactive=True)
        return new


def build(jobs: DemoJobs, examples: list[Path]) -> gr.Blocks:
    """The page. Pictures reach `jobs` as uploaded, never through a decoder of the page's own."""
    keep_s = 60 * jobs.limits.keep_minutes
    private = {"api_visibility": "private"}
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(min(60, keep_s), keep_s)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = gr.Image(
                    label="Your picture", sources=["upload", "clipboard"], type="filepath", image_mode=None,
                    height=290, elem_id="picture", buttons=[],
                )  # fmt: skip
                gr.Markdown("or one of these:", elem_classes="hint")
                gallery = gr.Gallery(
                    [(str(path), path.stem) for path in examples], label="Examples", show_label=False, container=False,
                    columns=4, height=250, allow_preview=False, object_fit="contain", interactive=False, buttons=[],
                    elem_id="examples",
                )  # fmt: skip
                button = gr.Button("Make it 3D", variant="primary", size="lg", elem_id="make")
                chosen = _settings(jobs)
            with gr.Column(scale=3, min_width=300):
                fields = _fields(picture)
        gallery.select(_choose(examples), None, picture, queue=False, show_progress="hidden", **private)
        made = button.click(
            _generate(jobs, fields), [picture, *chosen], fields.all(), preprocess=False, concurrency_limit=1,
            show_progress_on=[fields.times], **private,
        )  # fmt: skip
        again = page.load(
            _resume(jobs, fields), fields.token, [picture, *fields.all()], concurrency_limit=None,
            show_progress_on=[fields.times], **private,
        )  # fmt: skip
        other = fields.shape.input(
            _other_shape(jobs, fields), [fields.token, fields.shape], fields.all(), queue=False,
            trigger_mode="always_last", show_progress="hidden", **private,
        )  # fmt: skip
        for done in (made, again, other):
            done.success(
                _mesh_once(jobs), [fields.token, fields.mesh_file], fields.mesh, queue=False, show_progress="hidden",
                **private,
            )  # fmt: skip
    _stay_local(page)
    return page.queue(max_size=jobs.limits.waiting, default_concurrency_limit=1)


def _settings(jobs: DemoJobs) -> list[gr.components.Component]:
    sample, limits = jobs.generator.first.training.sample, jobs.limits
    methods = [name for name in METHODS if name != "poisson" or importlib.util.find_spec("pymeshlab")]
    network = jobs.generator.cutout.network
    cutouts = ["auto", "alpha", "plain", *(["rembg"] if network is not None and network.is_there() else [])]
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        count = gr.Slider(
            1, limits.samples, 1, step=1, label="Shapes", info="several guesses of one picture", elem_id="count"
        )
        steps = gr.Slider(
            1, limits.steps, min(sample.steps, limits.steps), step=1, label="Steps", info="more: finer, slower",
            elem_id="steps",
        )  # fmt: skip
        with gr.Row():
            first, last = (
                gr.Number(
                    value, label=f"Guidance, {name} layer", minimum=0, maximum=MAX_GUIDANCE, step=0.1, min_width=100
                )
                for name, value in (("first", sample.guidance_min), ("last", sample.guidance_max))
            )
        with gr.Row():
            seed = gr.Number(0, label="Seed", info="another seed, another guess", precision=0, min_width=100)
            surface = gr.Radio(methods, value=METHODS[0], label="Surface", info="how the mesh is made", min_width=100)
        cutout = gr.Radio(cutouts, value="auto", label="Cut-out", info="by what the object is cut out", min_width=100)
    return [steps, first, last, seed, surface, count, cutout]


def _fields(picture: gr.Image) -> Fields:
    with gr.Row(elem_classes="stack"):
        mesh = gr.Model3D(
            label="Mesh", height=400, interactive=False, elem_id="mesh", clear_color=(1, 1, 1, 1),
            camera_position=(65, 70, None), min_width=300,
        )  # fmt: skip
        points = gr.HTML(
            NOTHING_YET, label="Points", show_label=True, container=True, min_width=300, min_height=400,
            elem_id="points", elem_classes="view",
        )  # fmt: skip
    shape = gr.Slider(1, 2, 1, step=1, label="Shape", visible=False, elem_id="shape")
    with gr.Row():
        names = {"glb": "Mesh (.glb)", "ply": "Points (.ply)", "npz": "X-Ray (.npz)"}
        downloads = {
            kind: gr.DownloadButton(f"Download {name}", interactive=False, size="md", elem_id=kind)
            for kind, name in names.items()
        }
    with gr.Row():
        cutout = gr.Image(
            label="The object, cut out", height=250, interactive=False, buttons=[], elem_id="cutout", min_width=150
        )
        times = gr.HTML(
            "", label="Seconds", show_label=True, container=True, min_height=250, min_width=150, elem_id="times",
            elem_classes="times",
        )  # fmt: skip
    gr.Markdown("**The layers:** what each ray meets first, second, and so on", elem_classes="hint")
    strip = gr.HTML("", elem_id="strip", elem_classes="layers")
    with gr.Accordion("All layers on one sheet", open=True):
        layers = gr.Image(
            show_label=False, container=False, interactive=False, elem_id="layers", buttons=["fullscreen"]
        )
    token = gr.BrowserState(None, storage_key="xray-demo")
    return Fields(token, picture, mesh, gr.State(), points, downloads, shape, cutout, times, strip, layers)


def _choose(examples: list[Path]):
    def choose(event: gr.SelectData) -> str:
        return str(examples[event.index])

    return choose


def _generate(jobs: DemoJobs, fields: Fields):
    def generate(
        picture, steps, first, last, seed, surface, count, cutout, progress=PROGRESS
    ) -> Iterator[dict[gr.components.Component, Any]]:
        try:
            settings = jobs.settings(steps, first, last, seed, surface)
            if not picture:
                raise InputError("choose a picture first")
            job = jobs.begin(Path(picture["path"]), settings, count, cutout)
            yield fields.empty() | {fields.token: job.token}
            yield from _shown(jobs, fields, job, progress)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return generate


def _resume(jobs: DemoJobs, fields: Fields):
    """After the page was loaded again: the work that its browser remembers, and what is still to come of it."""

    def resume(token, progress=PROGRESS) -> Iterator[dict[gr.components.Component, Any]]:
        job = jobs.find(token)
        yield {fields.token: token if job else None}
        if job is None:
            return
        if job.upload.is_file():
            yield {fields.picture: str(job.upload)}
        try:
            yield from _shown(jobs, fields, job, progress)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return resume


def _shown(jobs: DemoJobs, fields: Fields, job: DemoJob, progress: gr.Progress) -> Iterator[dict]:
    """What is new, as it comes."""
    warned, slider = False, None
    for new in jobs.follow(job):
        if not job.done:
            _tell(jobs, job, progress)
        if not new or not job.shapes:
            continue
        number = job.shown
        shape = job.shapes[number - 1]
        if shape.made.warning and not warned:
            gr.Warning(shape.made.warning)
            warned = True
        update = {fields.cutout: str(job.picture) if job.picture else None}
        new_parts = fields.show(shape, _depths(jobs))
        if number == job.shown:  # else the visitor has chosen another one meanwhile, and has it
            update |= new_parts
        stand = len(job.shapes), job.shown
        if len(job.shapes) > 1 and stand != slider:  # left alone otherwise: the visitor may be moving it just now
            update[fields.shape] = gr.update(visible=True, maximum=len(job.shapes)) | _choice(job)
            slider = stand
        yield update


def _choice(job: DemoJob) -> dict[str, Any]:
    """The slider of shapes stands at the one that is shown."""
    return gr.update(value=job.shown, label=f"Shape {job.shown} of {job.count}")


def _tell(jobs: DemoJobs, job: DemoJob, progress: gr.Progress) -> None:
    before = jobs.before(job)
    if not job.shapes:
        words = "Waiting for 1 other picture" if before == 1 else f"Waiting for {before} other pictures"
        progress(0, desc=words if before else "Beginning")
        return
    words = "Sampling the layers" if job.count == 1 else f"Shape {len(job.shapes)} of {job.count}"
    progress((job.step, job.settings.steps), desc=words, unit="steps")


def _depths(jobs: DemoJobs) -> tuple[float, float]:
    codec = jobs.generator.first.codec
    return codec.near, codec.far


def _other_shape(jobs: DemoJobs, fields: Fields):
    def other_shape(token, number) -> dict[gr.components.Component, Any]:
        job = jobs.find(token)
        if job is None:
            raise gr.Error("the shapes are no longer here; make them again", print_exception=False)
        number = min(max(int(number), 1), len(job.shapes))
        job.looked_at = number
        return {fields.shape: _choice(job)} | fields.show(job.shapes[number - 1], _depths(jobs))

    return other_shape


def _mesh_once(jobs: DemoJobs):
    """The mesh for the page, unless that page has it.

    Given the same path again before its viewer is loaded, gradio 6.31's Model3D stays empty for good: at the end of a
    generator, and where a visitor chooses a shape in the moment in which the last one is ready.
    """

    def mesh_once(token, path, request: gr.Request) -> Any:
        job = jobs.find(token)
        return path if job is None or job.is_new_mesh(request.session_hash, path) else gr.skip()

    return mesh_once


def _stay_local(page: gr.Blocks) -> None:
    """No part of the page takes a web address for a file, which gradio would fetch on a visitor's behalf."""

    def local(move):
        async def move_local(path: str | Path | None) -> str | None:
            if path is not None and "://" in str(path)[:32]:
                raise gr.Error("Files are taken from this page only, not from an address.", print_exception=False)
            return await move(path)

        return move_local

    for block in page.blocks.values():
        block.async_move_resource_to_block_cache = local(block.async_move_resource_to_block_cache)


def points_view(cloud: PointCloud) -> str:
    """A frame with a cloud that can be turned: HTML that needs nothing from anywhere."""
    body = point_viewer.viewer({"Drag turns, the wheel zooms": cloud}, 420)
    content = (
        f'<!doctype html><meta charset="utf-8"><style>{FRAME_CSS}</style>{body}<script>{point_viewer.SCRIPT}</script>'
    )
    return f'<iframe title="points" sandbox="allow-scripts" srcdoc="{html.escape(content)}"></iframe>'


def times_table(made: GeneratedShape, glb: Path | None) -> str:
    """Seconds of every stage, and all of them together; below, how large the mesh is."""
    seconds = dict(made.seconds)  # as it is now: the work goes on
    rows = [f"<tr><td>{name}</td><td>{took:.2f}</td></tr>" for name, took in seconds.items()]
    rows.append(f'<tr class="sum"><td>all</td><td>{sum(seconds.values()):.2f}</td></tr>')
    if made.surface is not None:
        rows.append(f"<tr><td>faces of the mesh</td><td>{len(made.surface.faces):,}</td></tr>")
    if glb is not None:
        rows.append(f"<tr><td>its .glb</td><td>{glb.stat().st_size / 1e6:.1f} MB</td></tr>")
    return f"<table>{''.join(rows)}</table>"
