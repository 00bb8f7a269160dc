"""The turntable: a surface on a floor in soft light, that turns once and can be read as an animated picture."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.ndimage import binary_dilation

from xray.core.points import PointCloud
from xray.surface.surface import Surface
from xray.visual.turntable import BACKGROUND, save_turntable, turntable

PAPER = np.rint(BACKGROUND * 255)


def surface(mesh: trimesh.Trimesh, color=(0.8, 0.3, 0.2)) -> Surface:
    colors = np.tile(np.array(color, np.float32), (len(mesh.vertices), 1))
    return Surface(np.array(mesh.vertices), np.array(mesh.faces), np.array(mesh.vertex_normals), colors)


@pytest.fixture(scope="module")
def ball() -> list[np.ndarray]:
    return [picture.astype(int) for picture in turntable(surface(trimesh.creation.icosphere(3)), 4, 96)]


def is_object(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: the object is red, the floor grey."""
    return picture[..., 0] - picture[..., 2] > 20


def test_a_ball_is_round_lit_from_the_upper_left_and_looks_alike_from_all_sides(ball):
    seen = is_object(ball[0])
    rows, columns = np.nonzero(seen)
    wide, high = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert wide == pytest.approx(high, abs=1)
    assert seen.sum() == pytest.approx(np.pi / 4 * wide * high, rel=0.015)
    middle_row, middle_column = rows.mean(), columns.mean()
    y, x = np.mgrid[: len(seen), : len(seen)]
    upper_left = seen & (y < middle_row - 8) & (x < middle_column - 8)
    lower_right = seen & (y > middle_row + 8) & (x > middle_column + 8)
    assert ball[0][upper_left, 0].mean() > 1.5 * ball[0][lower_right, 0].mean()
    for other in ball[1:]:  # the lamps of the sky stand still
        assert np.abs(other - ball[0]).mean() < 3


def test_it_stands_in_its_own_soft_shadow(ball):
    """Darkest where it touches the floor, none far away, and no step in between."""
    picture = ball[0]
    outline = binary_dilation(is_object(picture), np.ones((3, 3)))  # its pixels are part object, part floor
    grey = np.where(outline, np.nan, picture.sum(-1) / 3)
    assert grey[0, :].min() > PAPER.mean() - 2
    assert grey[:40, [0, -1]].min() > PAPER.mean() - 2
    row, column = np.unravel_index(np.nanargmin(grey), grey.shape)
    assert grey[row, column] < PAPER.mean() - 100
    assert row > 85
    for axis in (0, 1):
        assert np.nanmax(np.abs(np.diff(grey, axis=axis))) < 8
    front = grey[-1]  # before the ball, from its middle to both sides
    darkest = front.argmin()
    assert 40 < darkest < 56
    assert (np.diff(front[: darkest + 1]) <= 0).all()
    assert (np.diff(front[darkest:]) >= 0).all()


def test_its_edge_is_antialiased(ball):
    """Along the outline there are colours between the object's and the floor's."""
    seen = is_object(ball[0])
    row = ball[0][48]
    step = np.abs(np.diff(row[:, 1]))
    assert step.max() < np.abs(row[seen[48], 1].mean() - PAPER[1])


def test_what_lies_in_a_hollow_is_darker():
    """Two plates with a narrow gap: less light between them than on top."""
    plates = (
        trimesh.util.concatenate(
            [trimesh.creation.box((1, 1, 0.05)), trimesh.creation.box((1, 1, 0.05)).apply_translation((0, 0, 0.25))]
        )
        .subdivide()
        .subdivide()
        .subdivide()
    )
    (picture,) = turntable(surface(plates), 1, 128)
    red = np.where(is_object(picture.astype(int)), picture[..., 0], 0)
    top = red[35:60, 40:90][red[35:60, 40:90] > 0].mean()
    gap = red[66:84, 50:78]
    assert gap[gap > 0].min() < 0.6 * top


@pytest.mark.parametrize("kind", ["surface", "cloud", "nothing"])
def test_a_file_turns_once(tmp_path, kind):
    mesh = trimesh.creation.box((1, 0.3, 0.5)).subdivide().subdivide()
    shown = surface(mesh)
    if kind == "cloud":
        shown = PointCloud(shown.vertices, shown.normals, shown.colors)
    elif kind == "nothing":
        shown = Surface(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros((0, 3)), np.zeros((0, 3), np.float32))
    save_turntable(tmp_path / "a.gif", shown, frames=12, size=64)
    with Image.open(tmp_path / "a.gif") as file:
        assert file.size == (64, 64)
        assert file.info["loop"] == 0
        pictures = []
        for number in range(file.n_frames):
            file.seek(number)
            pictures.append(np.asarray(file.convert("RGB")).astype(int))
    if kind == "nothing":
        assert np.abs(pictures[0] - PAPER).max() <= 2
        return
    assert len(pictures) == 12
    wide = [np.ptp(np.flatnonzero(is_object(picture).any(0))) for picture in pictures]
    assert wide.index(max(wide)) in (0, 1, 5, 6, 7, 11)
    assert max(wide) > 1.8 * min(wide)


def test_pictures_are_the_same_on_one_core_and_on_several(monkeypatch):
    """Sums of light may differ in their last bits."""
    shown = surface(trimesh.creation.icosphere(3))
    pictures = []
    for cores in (1, 3):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        pictures.append(np.stack(turntable(shown, 5, 48)).astype(int))
    assert len(pictures[0]) == 5
    assert np.abs(pictures[1] - pictures[0]).max() <= 1
