"""X-Rays a second, against the plain way and against the limit, stage by stage; then workers and memory.

    python benchmarks/preprocessing.py [--faces 40000 2600000] [--meshes FILE ...] [--workers 1 2]

The plain way is `plain_xray.py`. The limit is one pass of the ray cast and one of deflate over the same bytes.
Every ratio is of two measurements of one run, taken in turn, on one core.
"""

from __future__ import annotations

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy loads: one core on both sides

import statistics  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import zlib  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import plain_xray  # noqa: E402
from made_mesh import write_shells  # noqa: E402
from PIL import Image  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from xray import cli  # noqa: E402
from xray.camera import Camera, Views, sample_views  # noqa: E402
from xray.capture import capture_sparse  # noqa: E402
from xray.jobs import run_jobs  # noqa: E402
from xray.mesh import Mesh, load_mesh  # noqa: E402
from xray.objects import ObjectJob, Settings  # noqa: E402
from xray.raycast import RayCaster  # noqa: E402
from xray.storage import save_sparse  # noqa: E402

VIEWS, LAYERS, SIZE = 8, 16, 256


def clock(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


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
    job = ObjectJob(Settings(), folder / "images", folder / "xrays", overwrite=True)
    say(f"{objects} objects of {faces} faces", "views/s", "/ N x first", "busy loop", "peak MiB")
    first = first_loop = None
    for number in workers:
        tallies, rate = rate_of(job, items, number, job.prepare)
        _, loop = rate_of(busy_loop, list(range(3 * objects)), number)
        first, first_loop = first or rate / number, first_loop or loop / number
        peak = max(tally.peak_mib for tally in tallies)
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
    job = ObjectJob(Settings(), folder / "images", folder / "xrays", overwrite=True)
    say("peak memory of a worker", "MiB after 1", "2", "3 objects")
    for count in faces:
        path = folder / f"shells_{count}.glb"
        if not path.exists():
            write_shells(path, count)
        tallies = [tally for _, tally in run_jobs(job, [("object", path)] * 3, 1, prepare=job.prepare)]
        say(f"  {count} faces", *(f"{tally.peak_mib:.0f}" for tally in tallies))


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, nargs="*", default=[40_000, 2_600_000])
    parser.add_argument("--meshes", type=Path, nargs="*", default=[], help="mesh files to measure as well")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, len(os.sched_getaffinity(0))])
    parser.add_argument("--objects", type=int, default=24)
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for faces in flags.faces:
            path = Path(folder) / f"shells_{faces}.glb"
            write_shells(path, faces)
            compare(path, Path(folder), flags.rounds)
        for path in flags.meshes:
            compare(path, Path(folder), flags.rounds)
        memory(flags.faces, Path(folder))
        if flags.workers:
            scale(flags.workers, flags.objects, 40_000, Path(folder))
    return cli.OK


if __name__ == "__main__":
    sys.exit(main())
