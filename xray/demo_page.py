"""The page of the demo: its fields, and what of a visitor's work is shown when."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from .demo_work import MAX_GUIDANCE, Work, Workshop
from .errors import InputError
from .points import PointCloud
from .surface import METHODS
from .viewer import SCRIPT, viewer

TITLE = "One picture to a mesh"

INTRODUCTION = f"""# {TITLE}
Choose a picture of **one object** before a plain or transparent background, and press **Make it 3D**.
The networks imagine every surface that a ray through the picture would cross: front, inside and back."""

CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.view iframe { width: 100%; height: 374px; border: 0; display: block; }
.view .hint { padding: 160px 20px 0; text-align: center; }
.hint { color: #71717a; font-size: .95em; }
.times table { border-collapse: collapse; width: 100%; margin-top: 18px; font-size: .9em; }
.times td { padding: 1px 6px !important; border: 0 !important; }
.times tr:last-child td { border-top: 1px solid #d4d4d8 !important; font-weight: 600; }
.times td + td { text-align: right; font-variant-numeric: tabular-nums; }
footer { display: none !important; }
"""

FRAME_CSS = """
html, body { margin: 0; height: 100%; overflow: hidden; background: #fff; }
body { font: 13px system-ui, sans-serif; color: #71717a; }
.clouds, figure { margin: 0; height: 100%; text-align: center; }
canvas { height: calc(100% - 22px); max-width: 100%; object-fit: contain; cursor: grab; touch-action: none; }
"""

NOTHING_YET = '<p class="hint">The points appear here: drag turns them, the wheel zooms.</p>'

PROGRESS = gr.Progress()


@dataclass(frozen=True)
class Fields:
    """The parts of the page that are filled while a picture is worked on.

    `mesh_file` holds the path for `mesh`, which is filled by one event after all others: given the same path twice in
    short order, as at the end of a generator, gradio 6.31's Model3D stays empty.
    """

    mesh: gr.Model3D
    mesh_file: gr.State
    points: gr.HTML
    downloads: dict[str, gr.DownloadButton]
    cutout: gr.Image
    times: gr.HTML
    layers: gr.Image

    def all(self) -> list[gr.components.Component]:
        """In the order of the page."""
        return [self.mesh, self.mesh_file, self.points, *self.downloads.values(), self.cutout, self.times, self.layers]

    def empty(self) -> dict[gr.components.Component, Any]:
        """What they show before anything is made."""
        downloads = {button: gr.update(value=None, interactive=False) for button in self.downloads.values()}
        rest = {self.cutout: None, self.layers: None, self.mesh: None, self.mesh_file: None}
        return rest | downloads | {self.points: NOTHING_YET, self.times: ""}

    def show(self, work: Work) -> dict[gr.components.Component, Any]:
        """What is new after the last stage done."""
        made = work.made
        new: dict[gr.components.Component, Any] = {self.times: times_table(made.seconds), self.cutout: str(work.cutout)}
        if work.layers is not None and made.surface is None:
            new |= {self.layers: str(work.layers), self.points: points_view(made.cloud)}
        if work.files:
            new[self.mesh_file] = str(work.files["glb"]) if "glb" in work.files else None
            for kind, path in work.files.items():
                new[self.downloads[kind]] = gr.update(value=str(path), interactive=True)
        return new


def build(workshop: Workshop, examples: list[Path]) -> gr.Blocks:
    """The page. Pictures reach `workshop` as uploaded, never through a decoder of the page's own."""
    keep_s = 60 * workshop.limits.keep_minutes
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(min(60, keep_s), keep_s)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                picture = gr.Image(
                    label="Your picture", sources=["upload", "clipboard"], type="filepath", image_mode=None,
                    height=290, elem_id="picture", buttons=[],
                )  # fmt: skip
                gr.Markdown("or one of these:", elem_classes="hint")
                gallery = gr.Gallery(
                    [str(path) for path in examples], label="Examples", show_label=False, container=False, columns=4,
                    height=250, allow_preview=False, object_fit="contain", interactive=False, buttons=[],
                    elem_id="examples",
                )  # fmt: skip
                button = gr.Button("Make it 3D", variant="primary", size="lg", elem_id="make")
                chosen = _settings(workshop)
            with gr.Column(scale=3, min_width=480):
                fields = _fields()
        gallery.select(_choose(examples), None, picture, queue=False, api_visibility="private", show_progress="hidden")
        made = button.click(
            _generate(workshop, fields), [picture, *chosen], fields.all(), preprocess=False, concurrency_limit=1,
            show_progress_on=[fields.times], api_visibility="private",
        )  # fmt: skip
        made.success(lambda path: path, fields.mesh_file, fields.mesh, queue=False, api_visibility="private")
    _stay_local(page)
    return page.queue(max_size=workshop.limits.waiting, default_concurrency_limit=1)


def _settings(workshop: Workshop) -> list[gr.components.Component]:
    sample = workshop.imaginer.first.training.sample
    methods = [name for name in METHODS if name != "poisson" or importlib.util.find_spec("pymeshlab")]
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        steps = gr.Slider(
            1, workshop.limits.steps, sample.steps, step=1, label="Steps", info="more: finer, slower", elem_id="steps"
        )
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
    return [steps, first, last, seed, surface]


def _fields() -> Fields:
    with gr.Row():
        mesh = gr.Model3D(
            label="Mesh", height=400, interactive=False, elem_id="mesh", clear_color=(1, 1, 1, 1),
            camera_position=(65, 70, None),
        )  # fmt: skip
        points = gr.HTML(
            NOTHING_YET,
            label="Points",
            show_label=True,
            container=True,
            min_height=400,
            elem_id="points",
            elem_classes="view",
        )
    with gr.Row():
        names = {"glb": "Mesh (.glb)", "ply": "Points (.ply)", "npz": "X-Ray (.npz)"}
        downloads = {
            kind: gr.DownloadButton(f"Download {name}", interactive=False, size="md", elem_id=kind)
            for kind, name in names.items()
        }
    with gr.Row():
        cutout = gr.Image(label="The object, cut out", height=250, interactive=False, buttons=[], elem_id="cutout")
        times = gr.HTML(
            "", label="Seconds", show_label=True, container=True, min_height=250, elem_id="times", elem_classes="times"
        )
    gr.Markdown("**The layers:** what each ray meets first, second, and so on", elem_classes="hint")
    layers = gr.Image(show_label=False, container=False, interactive=False, elem_id="layers", buttons=["fullscreen"])
    return Fields(mesh, gr.State(), points, downloads, cutout, times, layers)


def _choose(examples: list[Path]):
    def choose(event: gr.SelectData) -> str:
        return str(examples[event.index])

    return choose


def _generate(workshop: Workshop, fields: Fields):
    def generate(picture, steps, first, last, seed, surface, progress=PROGRESS) -> Iterator[dict]:
        try:
            settings = workshop.settings(steps, first, last, seed, surface)
            if not picture:
                raise InputError("choose a picture first")
            yield fields.empty()
            warned = False
            for work in workshop.make(Path(picture["path"]), settings, _tick(progress, settings.steps)):
                if work.made.warning and not warned:
                    gr.Warning(work.made.warning)
                    warned = True
                yield fields.show(work)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return generate


def _tick(progress: gr.Progress, steps: int):
    return lambda done: progress((done, steps), desc="Imagining the layers", unit="steps")


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
    body = viewer({"Drag turns, the wheel zooms": cloud}, 420)
    content = f'<!doctype html><meta charset="utf-8"><style>{FRAME_CSS}</style>{body}<script>{SCRIPT}</script>'
    return f'<iframe title="points" sandbox="allow-scripts" srcdoc="{html.escape(content)}"></iframe>'


def times_table(seconds: dict[str, float]) -> str:
    """Seconds of every stage, and all of them together."""
    rows = [*seconds.items(), ("all", sum(seconds.values()))]
    return "<table>" + "".join(f"<tr><td>{name}</td><td>{took:.2f}</td></tr>" for name, took in rows) + "</table>"
