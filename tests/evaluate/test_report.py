"""The report is one file that a browser opens without a network, with the points drawn in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers.analytic import sphere_xray
from PIL import Image

from xray.common.errors import InputError
from xray.core.points import to_points
from xray.evaluate.report import comparable, write_report
from xray.evaluate.results import HEADLINE, Results, headline, summarise
from xray.mesh.ply import save_ply
from xray.metrics.protocols import score_xray
from xray.visual.point_viewer import viewer
from xray.visual.sheets import sheet, splat
from xray.visual.svg_charts import histogram, lines

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


def make_results(folder, weights: str, samples: int = 3) -> Results:
    """Results as an evaluation leaves them, of spheres predicted a little too small."""
    settings = {
        "kind": "diffusion", "experiment": "balls", "step": 5, "weights": weights, "data_root": "data",
        "alignment": "none", "codec": {"near": 0.6, "far": 2.4}, "mesh_root": None,
    }  # fmt: skip
    results = Results.begin(folder, settings)
    for number in range(samples):
        truth, camera = sphere_xray([0.5, 0.3], 32)
        prediction, _ = sphere_xray([0.48 - 0.02 * number, 0.3], 32)
        name = f"ball<{number}>_000"
        clouds = {"predicted": to_points(prediction, camera), "truth": to_points(truth, camera)}
        save_ply(results.path(name, "_prd.ply"), to_points(prediction, camera, "world"))
        save_ply(results.path(name, "_gt.ply"), to_points(truth, camera, "world"))
        results.path(name, "_xray.npz").write_bytes(b"")
        image = np.full((32, 32, 3), 200, np.uint8)
        xrays = {"predicted": prediction, "truth": truth}
        sheet(image, xrays, clouds, 0.6, 2.4, name).save(results.path(name, ".png"))
        scores = score_xray(prediction, truth, truth, camera, emd=False)
        results.write_row(name, {"sample": name, "object": "ball", "view": "000", "scores": scores})
    results.summarise([row["sample"] for row in results.rows()], {"lost_000": "lost_000.npz: cut short"})
    return results


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluate")
    trained = make_results(root / "checkpoint-5", "abc")
    make_results(root / "untrained", "random start of seed 0")
    return write_report(trained)


def test_report_is_self_contained_and_compares(page):
    text = page.read_text()
    links = re.findall(r'(?:src|href)="([^"]{0,40})', text)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert "http://" not in text
    assert "https://" not in text
    for word in (
        "untrained",
        "step 5",
        "best: ball&lt;0&gt;",
        "median: ball&lt;1&gt;",
        "worst: ball&lt;2&gt;",
        "cut short",
    ):
        assert word in text
    assert "ball<" not in text
    assert text.count("<svg") == 7


def test_a_browser_draws_the_points(page, tmp_path):
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    flags = ["--virtual-time-budget=4000", "--window-size=1500,2400"]
    dom = subprocess.run([*command, *flags, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    drawn = [int(value) for value in re.findall(r'<canvas[^>]*data-shown="(\d+)"', dom.stdout)]
    assert len(drawn) == 9
    assert min(drawn) > 2000
    assert re.findall(r'class="clouds" data-drawn="(\d)"', dom.stdout) == ["3", "3", "3"]
    picture = tmp_path / "page.png"
    subprocess.run(
        [*command, *flags, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=120, check=True
    )
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[1] == 1500
    assert (pixels.max(-1).astype(int) - pixels.min(-1) > 60).mean() > 0.01  # points and layers are in colour


def test_results_of_other_data_are_not_compared(tmp_path):
    results = make_results(tmp_path / "checkpoint-5", "abc", samples=1)
    other = make_results(tmp_path / "untrained", "random start of seed 0", samples=1)
    (other.folder / "settings.json").write_text(
        (other.folder / "settings.json").read_text().replace('"data"', '"more"')
    )
    assert list(comparable(results)) == ["step 5"]


def test_report_of_nothing_is_refused(tmp_path):
    results = Results.begin(tmp_path / "empty", {"weights": "abc", "step": 1, "kind": "diffusion"})
    results.summarise([], {})
    with pytest.raises(InputError, match="no evaluated samples"):
        write_report(results)


def test_pictures_of_degenerate_clouds():
    xray, camera = sphere_xray([0.5], 32)
    cloud = to_points(xray, camera)
    assert (splat(cloud, size=50) < 255).any()
    assert (splat(cloud[:0], size=50) == 255).all()
    broken = type(cloud)(np.full_like(cloud.points, np.nan), cloud.normals, cloud.colors)
    assert (splat(broken, size=50) == 255).all()
    assert viewer({"nothing": broken, "empty": cloud[:0]}).count("<canvas") == 2


def test_charts_take_any_numbers():
    for values in ([], [1.0], [1.0, 1.0], [0.0, 2.0, float("nan")]):
        assert histogram({"a": values, "b": [0.5]}, "title").startswith("<svg")
    assert lines({"a": [None, 0.5, None], "b": []}, "title").count("<circle") == 1


def test_results_of_another_experiment_are_shown_beside_when_asked_for(tmp_path):
    after = make_results(tmp_path / "mine" / "evaluate" / "checkpoint-5", "abc")
    before = make_results(tmp_path / "shipped" / "checkpoint-5", "def", samples=2)
    assert list(comparable(after)) == ["step 5"]
    found = comparable(after, [before.folder])
    assert list(found) == ["step 5", "shipped, step 5"]
    assert found["shipped, step 5"].folder == before.folder
    text = write_report(after, [before.folder]).read_text()
    assert "shipped, step 5: Chamfer" in text
    other = before.folder.parent / "other"
    shutil.copytree(before.folder, other)
    settings = json.loads((other / "settings.json").read_text())
    (other / "settings.json").write_text(json.dumps(settings | {"data_root": "elsewhere"}))
    with pytest.raises(InputError, match="not results of the same stage, data"):
        comparable(after, [other])


def test_six_numbers_say_what_they_mean(tmp_path):
    results = make_results(tmp_path / "checkpoint-5", "abc")
    lines = headline({"step 5": summarise(results.rows()), "a longer label": summarise([])}).splitlines()
    assert len(lines) == 2 + len(HEADLINE)
    assert lines[0].split(maxsplit=2) == ["step", "5", "a longer label"]
    for line, (name, meaning) in zip(lines[1:], HEADLINE, strict=False):
        assert line.startswith(name)
        assert line.endswith(meaning)
        first, second = line.removeprefix(name).split()[:2]
        assert 0 <= float(first) <= 1
        assert second == "-"
    assert lines[-1].split() == ["views", "3", "0"]


def test_samples_with_very_long_names_have_files_and_failures(tmp_path):
    results = Results.begin(tmp_path / "checkpoint-1", {"kind": "diffusion"})
    names = [letter * 250 + "_000" for letter in "ab"] + ["\u00e4" * 125 + "_000", "short_000"]
    for name in names[:3]:
        assert not results.finished(name)
        results.path(name, "_xray.npz").write_bytes(b"")
        results.write_row(name, {"sample": name, "scores": {}})
        assert results.finished(name)
    results.write_failure("c" * 250 + "_000", "cut short")
    results.write_failure("short_000", "cut short")
    results.write_failure(names[0], "finished since")
    assert [row["sample"] for row in results.rows()] == sorted(names[:3])
    assert [row["sample"] for row in results.rows([names[1], "none"])] == [names[1]]
    assert results.failures() == {"c" * 250 + "_000": "cut short", "short_000": "cut short"}
