"""A network compiled by torch trains as one that is not; what is missing for it is said in one line."""

import pytest
import torch
from helpers.tiny_runs import make_data
from helpers.training_runs import contents, last_line, run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
def test_a_compiled_network_trains_the_same_and_keeps_its_names(data, tmp_path):
    # One level: residual blocks, attention and the joining of both, and a third of the kernels to compile.
    options = ("train.max_steps=2", "model.block_out_channels=[32]", "model.num_attention_heads=[2]")
    for name, on in (("plain", "false"), ("compiled", "true")):
        assert run("diffusion", data, tmp_path / name, *options, f"train.compile={on}") == 0
    one, two = (contents(tmp_path / name / "checkpoint-2") for name in ("plain", "compiled"))
    gradients = [name for name in one if name.endswith(".exp_avg")]
    scale = max(float(one[name].abs().max()) for name in gradients)
    assert all(torch.allclose(one[name], two[name], atol=1e-3 * scale) for name in gradients)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, whose code needs no C++ compiler")
def test_compiling_without_a_compiler_says_so(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert run("upsampler", data, tmp_path / "out", "train.compile=true") == 2
    assert "train.compile needs a C++ compiler and there is no no-such-compiler" in last_line(capsys)
