"""Objects cut out by a network: rembg's own class with a tiny network, made here, that sees what is red."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from xray.common.errors import InputError
from xray.common.images import foreground
from xray.inference.photo import EXTENT, CutOut, frame
from xray.inference.rembg_network import RembgNetwork, make_cutout


@pytest.fixture(scope="module")
def packages():
    for name in ("onnxruntime", "rembg", "onnx"):
        pytest.importorskip(name, reason=f"{name} is not installed (requirements-photo.txt, requirements-dev.txt)")


@pytest.fixture(scope="module")
def red_network(packages, tmp_path_factory):
    """As U^2-Net takes and gives: (1, 3, 320, 320), normalised -> (1, 1, 320, 320), bright on the object."""
    from onnx import TensorProto, helper, numpy_helper, save

    side = 320
    mean, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # by which rembg normalises
    red = 40 * np.array([1.0, -1, -1])  # red without green and blue: not black, not white
    weight = (red * spread).astype(np.float32).reshape(1, 3, 1, 1)
    bias = np.array([red @ mean - 40 * 0.3], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["picture", "weight", "bias"], ["raw"]),
            helper.make_node("Sigmoid", ["raw"], ["mask"]),
        ],
        "red",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, side, side])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    path = tmp_path_factory.mktemp("network") / "red.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def photo(path) -> tuple[int, int, int, int]:
    """A red box before a background of blue and green noise; where the box is."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    noise[..., 0] = 0
    picture, box = Image.fromarray(noise), (100, 60, 260, 180)
    picture.paste((230, 10, 10), box)
    picture.save(path)
    return box


def test_a_busy_background_is_cut_away_by_a_network_of_ones_own(red_network, tmp_path):
    left, top, right, bottom = photo(tmp_path / "a.png")
    for method in ("rembg", "auto"):
        cut, warning = frame(tmp_path / "a.png", None, 256, make_cutout(method, red_network))
        assert warning == ""
        rows, columns = np.nonzero(foreground(cut))
        width, height = columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()
        assert width == pytest.approx(EXTENT * 256, abs=1)
        assert height == pytest.approx(EXTENT * 256 * (bottom - top) / (right - left), abs=1)
        assert len(rows) > 0.99 * width * height  # the box, whole, and nothing beside it
        inside = np.asarray(cut)[110:146, 110:146]
        assert np.abs(inside.astype(int) - (230, 10, 10, 255)).max() <= 1
    whole, warning = frame(tmp_path / "a.png", None, 256)
    assert "choose rembg" in warning
    assert whole.size == (400, 300)


def test_a_network_that_sees_nothing_is_one_line(red_network, tmp_path):
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "blue.png")
    with pytest.raises(InputError, match=r"blue.png: no object in the picture"):
        frame(tmp_path / "blue.png", None, 256, make_cutout("rembg", red_network))


def test_what_is_no_network_is_one_line(packages, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match=r"cutout rembg: .*a.onnx cannot be loaded") as caught:
        make_cutout("rembg", tmp_path / "a.onnx")
    assert "\n" not in str(caught.value)


def test_auto_downloads_nothing(packages, tmp_path, monkeypatch):
    """Without its network here, a busy picture is used whole, with a warning; only `rembg` itself fetches it."""
    for name in ("REMBG_HOME", "U2NET_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    photo(tmp_path / "a.png")
    assert not RembgNetwork().is_there()
    assert "used whole" in frame(tmp_path / "a.png", None, 256, make_cutout("auto"))[1]
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing answers there
    with pytest.raises(InputError, match="cutout rembg: u2net cannot be loaded"):
        make_cutout("rembg")


def test_without_rembg_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"rembg is not installed \(pip install -r requirements-photo.txt\)"):
        make_cutout("rembg")
    assert not RembgNetwork().is_there()
    assert make_cutout("auto").network is not None


def test_flags_that_do_not_go_together_are_one_line(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "a.onnx").touch()
    for method, model, mask, said in (
        ("mask", None, None, "--cutout mask needs --mask"),
        ("plain", None, tmp_path / "a.png", "--cutout plain does not go together with --mask"),
        ("auto", None, tmp_path / "b.png", "b.png: no such mask"),
        ("plain", tmp_path / "a.onnx", None, "of no use with --cutout plain"),
        ("auto", tmp_path / "b.onnx", None, "b.onnx: no such file"),
    ):
        with pytest.raises(InputError, match=said):
            make_cutout(method, model, mask)
    assert isinstance(make_cutout("mask", None, tmp_path / "a.png"), CutOut)
