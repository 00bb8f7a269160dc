"""From mesh files to a data set, against the plain way and against the limit, stage by stage; then workers and memory.

    python benchmarks/preprocessing.py [--faces 40000 2600000] [--meshes FILE ...] [--workers 1 2] [--clock cpu]

First 8 pictures of 512 x 512 and 8 X-Rays of 256 x 256 rays from the mesh's file to files, as make_dataset.py makes
them. The plain way (`plain_xray.py`) reads the file by trimesh, makes a picture with one Embree ray a pixel and without
shadows, and X-Rays by Embree. The limit reads the file's bytes, casts the rays of pictures (one a pixel) and of X-Rays
once, and deflates what is written once. Then loading from each format beside trimesh, and the X-Rays alone. Every ratio
is of measurements of one run, on one core. Before all this a mesh with a large texture, and one of millions of faces,
with the memory that they take.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import plain_xray
import trimesh
from made_mesh import write_instances, write_shells, write_textured_obj
from PIL import Image

from xray.common import cli
from xray.common.errors import InputError
from xray.common.jobs import run_jobs
from xray.core.camera import Camera, Views, sample_views
from xray.core.storage import save_sparse
from xray.mesh.load import load_mesh
from xray.mesh.mesh import Mesh
from xray.preprocess.dataset_run import DatasetJob
from xray.preprocess.render_object import COMPRESSION, Rendered, RenderSettings, RenderTask, render_object
from xray.preprocess.xray_object import ObjectJob, XRaySettings, peak_mib
from xray.raycast.capture import capture_sparse
from xray.raycast.caster import RayCaster
from xray.raycast.shading import picture

VIEWS, LAYERS, SIZE, PIXELS = 8, 16, 256, 512

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""By `--clock`; the second is for a machine that is busy otherwise."""

now = time.perf_counter


def clock(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = now()
    action()
    return now() - began


def whole(path: Path, folder: Path, rounds: int) -> None:
    """One block: the whole command from the mesh's file to files, its stages, the plain way, the limit."""
    target = folder / "whole"
    task = RenderTask("object", path, target / "images/object", RenderSettings(VIEWS, image_size=PIXELS), True)
    job = DatasetJob(ObjectJob(XRaySettings(), target / "images", target / "xrays", overwrite=True))
    job(task)  # kernels are loaded
    ours = [clock(lambda: job(task)) for _ in range(rounds)]
    rendered, counts = job(task)
    if not isinstance(rendered, Rendered) or counts.accepted != VIEWS:
        raise InputError(f"{path}: {counts.reason or rendered}")
    views = task.settings.views("object")
    plain = [clock(lambda: plain_xray.picture_and_xray(path, views, turn % VIEWS, folder)) for turn in range(2)]  # noqa: B023
    loading = statistics.median(clock(lambda: plain_xray.load(path)) for _ in range(2))
    plain_object = loading + VIEWS * (statistics.median(plain) - loading)
    stages = whole_stages(path, views, target)
    limit = sum(value for name, value in stages.items() if name.startswith("limit: "))
    ours_object = statistics.median(ours)
    say(f"{path.name}: {VIEWS} pictures, {VIEWS} X-Rays", "s an object", "plain/this", "this/limit")
    say("plain way", plain_object)
    say("make_dataset.py", ours_object, f"{plain_object / ours_object:.1f}", f"{ours_object / limit:.2f}")
    say("limit", limit, f"{plain_object / limit:.1f}")
    for name, value in stages.items():
        say(f"  {name}", value)


def whole_stages(path: Path, views: Views, target: Path) -> dict[str, float]:
    """Seconds of the stages for all views, and of those of the limit."""
    mesh = load_mesh(path)
    caster = RayCaster(mesh.vertices, mesh.faces)
    large = [views.camera(index, PIXELS) for index in range(VIEWS)]
    small = [views.camera(index, SIZE) for index in range(VIEWS)]
    images = [picture(mesh, caster, camera) for camera in large]
    sparse = [capture_sparse(mesh, caster, camera)[0] for camera in small]
    out = target / "out"
    out.mkdir(exist_ok=True)

    def write_pictures() -> None:
        for image in images:
            Image.fromarray(image).save(out / "picture.png", compress_level=COMPRESSION)

    def deflate() -> None:
        for image, xray in zip(images, sparse, strict=True):
            for content in (image.tobytes(), xray.value.tobytes(), xray.column.tobytes()):
                zlib.compress(content, 1)

    return {
        "load": clock(lambda: load_mesh(path)),
        "pictures": clock(lambda: [picture(mesh, caster, camera) for camera in large]),
        "write pictures": clock(write_pictures),
        "X-Rays": clock(lambda: [capture_sparse(mesh, caster, camera) for camera in small]),
        "write X-Rays": clock(lambda: [save_sparse(out / "xray.npz", xray) for xray in sparse]),
        "limit: bytes of the file": clock(path.read_bytes),
        "limit: first hits of pictures": clock(lambda: [caster.first_hits(camera) for camera in large]),
        "limit: all hits of X-Rays": clock(lambda: [caster.view(camera, LAYERS) for camera in small]),
        "limit: deflate": clock(deflate),
    }


FORMATS = (".obj", ".off", ".stl", ".ply", ".glb")


def formats(faces: int, folder: Path, rounds: int) -> None:
    """Loading one mesh from a file of each format, in turn here and by trimesh (vertices not merged)."""
    path = folder / f"formats_{faces}.glb"
    count = write_shells(path, faces)
    source = trimesh.load(path, force="mesh", process=False)
    bare = trimesh.Trimesh(source.vertices, source.faces, process=False)
    say(f"loading {count} faces", "here", "trimesh", "trimesh/here")
    for suffix in FORMATS:
        file = path.with_suffix(suffix)
        if suffix != ".glb":
            bare.export(file)
        pairs = [(clock(lambda: load_mesh(file)), clock(lambda: plain_load(file))) for _ in range(rounds)]  # noqa: B023
        here, there = (statistics.median(values) for values in zip(*pairs, strict=True))
        say(f"  {suffix}, {file.stat().st_size / 2**20:.0f} MiB", here, there, f"{there / here:.1f}")
        file.unlink()


def plain_load(path: Path) -> None:
    """A mesh file by trimesh as it comes, but for the corners and faces of .stl, which it reads when they are asked."""
    loaded = trimesh.load(path, force="mesh", process=False)
    loaded.vertices, loaded.faces  # noqa: B018


def say(*cells: object) -> None:
    """One line of a table."""
    texts = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells]
    sys.stdout.write("  ".join([f"{texts[0]:<34}", *(f"{text:>11}" for text in texts[1:])]) + "\n")
    sys.stdout.flush()


def object_ours(mesh: Mesh, cameras: list[Camera], folder: Path) -> None:
    """Eight views of one object, mesh and cameras to files."""
    caster = RayCaster(mesh.vertices, mesh.faces)
    for index, camera in enumerate(cameras):
        sparse, _ = capture_sparse(mesh, caster, camera, LAYERS)
        save_sparse(folder / f"{index}.npz", sparse)


def view_plainly(mesh, camera: Camera, folder: Path) -> None:
    """One view the plain way."""
    plain_xray.save(folder / "plain.npz", plain_xray.capture(mesh, camera, LAYERS))


def compare(path: Path, folder: Path, rounds: int) -> None:
    """One block of the table: the two ways, the limit, and our stages."""
    loading = clock(lambda: load_mesh(path))
    mesh = load_mesh(path)
    plain = plain_xray.with_vertex_colors(mesh)
    cameras = [Camera(SIZE, SIZE, world_from_camera=pose) for pose in sample_views(VIEWS, np.random.default_rng(0))]
    object_ours(mesh, cameras, folder)  # kernels are loaded
    plain_s, ours_s = [], []
    for turn in range(rounds):
        plain_s.append(clock(lambda: view_plainly(plain, cameras[turn % VIEWS], folder)))  # noqa: B023
        ours_s.append(clock(lambda: object_ours(mesh, cameras, folder)) / VIEWS)
    caster = RayCaster(mesh.vertices, mesh.faces)
    stages = {
        name: [] for name in ("build, a view's share", "cast", "cast, attributes, sparse form", "write", "deflate")
    }
    for camera in cameras:
        built = clock(lambda: RayCaster(mesh.vertices, mesh.faces))
        stages["build, a view's share"].append(built / VIEWS)
        stages["cast"].append(clock(lambda: caster.view(camera, LAYERS)))  # noqa: B023
        stages["cast, attributes, sparse form"].append(clock(lambda: capture_sparse(mesh, caster, camera)))  # noqa: B023
        sparse, stats = capture_sparse(mesh, caster, camera)
        stages["write"].append(clock(lambda: save_sparse(folder / "0.npz", sparse)))  # noqa: B023
        content = (sparse.value.tobytes(), sparse.column.tobytes())
        stages["deflate"].append(clock(lambda: [zlib.compress(part, 1) for part in content]))  # noqa: B023
    middle = {name: statistics.median(values) for name, values in stages.items()}
    plain_view, ours_view = statistics.median(plain_s), statistics.median(ours_s)
    limit = middle["cast"] + middle["deflate"]
    say(f"{len(mesh.faces)} faces, {sum(stats.hits)} hits", "s a view", "plain/this", "this/limit")
    say("plain way", plain_view)
    say("this project", ours_view, f"{plain_view / ours_view:.1f}", f"{ours_view / limit:.2f}")
    say("limit: cast and one deflate", limit, f"{plain_view / limit:.1f}")
    for name, value in middle.items():
        say(f"  {name}", value)
    say("  (loading the file, an object)", loading)


def scale(workers: list[int], objects: int, faces: int, folder: Path) -> None:
    """Views a second of the whole job, loading and pictures included, by number of workers.

    On a machine with other work N processes do not get N cores; a loop that shares nothing tells how much they get.
    """
    path = folder / "scale.glb"
    write_shells(path, faces)
    names = tuple(f"{index:03d}.png" for index in range(VIEWS))
    views = Views(0.8575560450553894, names, sample_views(VIEWS, np.random.default_rng(1)))
    items = [(f"object{number:03d}", path) for number in range(objects)]
    for uid, _ in items:
        (folder / "images" / uid).mkdir(parents=True)
        (folder / "images" / uid / "transforms.json").write_text(views.to_json())
        for name in names:
            Image.new("RGBA", (512, 512), (200, 200, 200, 255)).save(folder / "images" / uid / name)
    job = ObjectJob(XRaySettings(), folder / "images", folder / "xrays", overwrite=True)
    say(f"{objects} objects of {faces} faces", "views/s", "/ N x first", "busy loop", "peak MiB")
    first = first_loop = None
    for number in workers:
        counted, rate = rate_of(job, items, number, job.prepare)
        _, loop = rate_of(busy_loop, list(range(3 * objects)), number)
        first, first_loop = first or rate / number, first_loop or loop / number
        peak = max(counts.peak_mib for counts in counted)
        parts = (rate / number / first, loop / number / first_loop)
        say(f"  {number} workers", f"{VIEWS * rate:.1f}", *(f"{part:.2f}" for part in parts), f"{peak:.0f}")


def rate_of(function: Callable, items: list, workers: int, prepare: Callable | None = None) -> tuple[list, float]:
    """Results, and items a second from when every worker has done one."""
    began, results = None, []
    for _, result in run_jobs(function, [*items[:workers], *items], workers, prepare=prepare):
        results.append(result)
        began = began or (time.perf_counter() if len(results) == workers else None)
    return results, len(items) / (time.perf_counter() - began)


def busy_loop(_: int) -> int:
    """Work that shares nothing: what the machine itself gives N processes at this time."""
    return sum(range(6_000_000))


def memory(faces: list[int], folder: Path) -> None:
    """Peak of one worker after objects of growing size, each taken three times: bounded by one object."""
    views = Views(0.8575560450553894, ("000.png",), sample_views(1, np.random.default_rng(1)))
    (folder / "images/object").mkdir(parents=True, exist_ok=True)
    (folder / "images/object/transforms.json").write_text(views.to_json())
    Image.new("RGBA", (512, 512), (200, 200, 200, 255)).save(folder / "images/object/000.png")
    job = ObjectJob(XRaySettings(), folder / "images", folder / "xrays", overwrite=True)
    say("peak memory of a worker", "MiB after 1", "2", "3 objects")
    for count in faces:
        path = folder / f"shells_{count}.glb"
        if not path.exists():
            write_shells(path, count)
        counted = [counts for _, counts in run_jobs(job, [("object", path)] * 3, 1, prepare=job.prepare)]
        say(f"  {count} faces", *(f"{counts.peak_mib:.0f}" for counts in counted))


def large(folder: Path) -> None:
    """Two large files, pictures and X-Rays each in a process of its own, from the file to files."""
    textured, instances = folder / "textured.obj", folder / "instances.glb"
    say("large files", "faces", "CPU s", "peak MiB")
    faces = write_instances(instances, 7_660_000, 100)
    for path, count, views in (
        (textured, write_textured_obj(textured, 1_000_000, 4096), 3),
        (instances, faces, 2),
        (instances, faces, 1),
    ):
        for kind in ("pictures", "X-Rays"):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                seconds, peak = pool.submit(large_object, kind, path, views, folder / "large").result()
            say(f"  {path.name}, {kind} of {views} views", count, seconds, f"{peak:.0f}")


def large_object(kind: str, path: Path, views: int, target: Path) -> tuple[float, float]:
    """CPU seconds and peak memory in MiB of one object's pictures, or of its X-Rays where its pictures are there."""
    small = target / "small.glb"
    target.mkdir(exist_ok=True)
    write_shells(small, 100)
    job = ObjectJob(XRaySettings(), target / "images", target / "xrays", overwrite=True)
    for uid, file in (("small", small), (path.stem, path)):  # the first loads the kernels
        task = RenderTask(uid, file, target / "images" / uid, RenderSettings(views, image_size=PIXELS), True)
        if uid == "small" or kind == "pictures":
            seconds = cpu_seconds(render_object, task)
        if uid == "small" or kind == "X-Rays":
            seconds = cpu_seconds(job, (uid, file))
    return seconds, peak_mib()


def cpu_seconds(action: Callable, item: object) -> float:
    """Of one call."""
    began = time.process_time()
    action(item)
    return time.process_time() - began


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, nargs="*", default=[40_000, 2_600_000])
    parser.add_argument("--meshes", type=Path, nargs="*", default=[], help="mesh files to measure as well")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, len(os.sched_getaffinity(0))])
    parser.add_argument("--objects", type=int, default=24)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument(
        "--formats", type=int, default=1_300_000, help="faces of the mesh that is loaded; 0 leaves it out"
    )
    parser.add_argument("--only", choices=("whole", "large", "stages", "all"), default="all", help="some of the blocks")
    flags = parser.parse_args(arguments)
    global now
    now = CLOCKS[flags.clock]
    with tempfile.TemporaryDirectory() as folder:
        if flags.only in ("large", "all"):
            large(Path(folder))
        if flags.only == "large":
            return cli.OK
        made = [Path(folder) / f"shells_{faces}.glb" for faces in flags.faces]
        for path, faces in zip(made, flags.faces, strict=True):
            write_shells(path, faces)
        if flags.only != "stages":
            for path in [*made, *flags.meshes]:
                whole(path, Path(folder), flags.rounds)
            if flags.formats:
                formats(flags.formats, Path(folder), flags.rounds)
        if flags.only == "whole":
            return cli.OK
        for path in [*made, *flags.meshes]:
            compare(path, Path(folder), flags.rounds)
        memory(flags.faces, Path(folder))
        if flags.workers:
            scale(flags.workers, flags.objects, 40_000, Path(folder))
    return cli.OK


def with_one_thread() -> None:
    """Start this program again where numpy has loaded without being told: one core on both sides."""
    wanted = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)


if __name__ == "__main__":
    with_one_thread()
    sys.exit(main())
