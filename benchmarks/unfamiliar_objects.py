"""What the shipped model makes of objects that it has not learned: upside down, or of another collection.

python benchmarks/unfamiliar_objects.py [--mesh_root DIR --up z] [--views 4]

The first held-out mug of example/shapes.py as it stands and upside down, and every mesh of DIR: each view is rendered
by our renderer with a camera that frames the object, predicted by both stages, and scored as the card of the model says
(example/pretrained/README.md): points against the true mesh in the unit box, mean over the seeds of sampling.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from xray.common.cli import entry
from xray.common.files import ROOT
from xray.data.dataset import XRayDataset, is_test
from xray.models.build import make_codec
from xray.recipes.pretrained import make_views
from xray.recipes.scores import TITLES, HeldOutScorer, load_pipelines, mean, predict

sys.path.insert(0, str(ROOT / "example"))

COLUMNS = {
    title: metric for metric, title in TITLES.items() if metric not in ("normal_consistency", "hidden_color_error")
}
"""Title -> metric."""

SEED = 0
"""Of the objects, as in training."""


def mugs(folder: Path) -> None:
    """The first held-out mug, and the same turned half around the axis to its right."""
    from shapes import EVAL_FRACTION, FAMILIES, make_object, name_of, to_scene

    numbers = range([family.__name__ for family in FAMILIES].index("mug"), 10_000, len(FAMILIES))
    number = next(number for number in numbers if is_test(name_of(number), EVAL_FRACTION))
    name, parts = make_object(SEED, number)
    scene = to_scene(parts)
    scene.export(folder / f"{name}.glb")
    scene.apply_transform(np.diag((1.0, -1.0, -1.0, 1.0)))
    scene.export(folder / f"{name}_upside_down.glb")


class EveryView(HeldOutScorer):
    """Scores all views, not the first of each object alone."""

    @property
    def views(self) -> list[int]:
        return list(range(len(self.dataset)))


def scores(meshes: Path, root: Path, pipelines, seeds: int) -> dict[str, dict[str, dict]]:
    """{object: as `recipes.scores.mean` takes it}."""
    codec = make_codec(pipelines[1].training)
    scorer = EveryView(XRayDataset(root, codec, "all", 256), meshes)
    made = {str(seed): scorer.score(predict(scorer, *pipelines, seed)) for seed in range(seeds)}
    objects = dict.fromkeys(row.object for row in scorer.dataset.rows)
    return {
        name: {"seeds": {seed: {view: made[seed][view] for view in _views(scorer, name)} for seed in made}}
        for name in objects
    }


def _views(scorer: HeldOutScorer, name: str) -> list[str]:
    return [scorer.name(index) for index, row in enumerate(scorer.dataset.rows) if row.object == name]


@entry
def main(arguments: list[str] | None = None) -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--mesh_root", type=Path, help="folder of meshes, beside the mugs")
    add("--up", default="auto", choices=("auto", "y", "z"), help="axis that is up in these files (auto: by file type)")
    add("--views", type=int, default=4, help="of each object")
    add("--seeds", type=int, default=3, help="of sampling")
    add("--model", default=ROOT / "example/pretrained/diffusion")
    add("--upsampler", default=ROOT / "example/pretrained/upsampler")
    options = parser.parse_args(arguments)
    pipelines = load_pipelines(options.model, options.upsampler)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "meshes"
        own.mkdir()
        mugs(own)
        sources = {own: "auto"} | ({options.mesh_root: options.up} if options.mesh_root else {})
        for number, (meshes, up) in enumerate(sources.items()):
            root = Path(folder) / f"data_{number}"
            log = root.with_suffix(".log")
            make_views(log, meshes, root, options.views, 256, 256, "--up", up, "--workers", 0)
            rows |= scores(meshes, root, pipelines, options.seeds)
    sys.stdout.write(f"{options.views} views, {options.seeds} seeds\n\n| object | {' | '.join(COLUMNS)} |\n")
    sys.stdout.write(f"|{'---|' * (1 + len(COLUMNS))}\n")
    for name, kept in rows.items():
        values = [f"{mean(kept, metric)[0]:.3f}" for metric in COLUMNS.values()]
        sys.stdout.write(f"| {' | '.join([name, *values])} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
