"""Experiments by name: one rule for every command."""

from __future__ import annotations

import pytest

from xray.common.errors import InputError
from xray.common.files import ROOT
from xray.inference.stage import check_device, experiment_dir, find_experiment, model_source


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory where "both" is a folder here and below Output/, "ours" and "local" only one of them."""
    for name in ("Output/both", "Output/ours", "both", "local", "Output/group/run", "group/run"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("both", "Output/both"),
        ("./both", "both"),
        ("Output/both", "Output/both"),
        ("ours", "Output/ours"),
        ("local", "local"),
        ("group/run", "Output/group/run"),
        ("./group/run", "group/run"),
        ("../here/both", None),
    ],
)
def test_every_command_finds_the_same_folder(here, name, folder):
    found = find_experiment(name)
    assert (found and (here / found).resolve()) == (folder and here / folder)
    if folder:
        assert experiment_dir(name) == found
        assert model_source(name) == str(found)


def test_an_absolute_path_is_the_folder_itself(here):
    assert experiment_dir(here / "both") == here / "both"


def test_a_name_of_two_folders_is_said_to_be(here, caplog):
    experiment_dir("both")
    assert caplog.messages == ["both: Output/both is used; for the folder of that name here write ./both"]
    caplog.clear()
    for name in ("./both", "ours", "local", "Output/both"):
        experiment_dir(name)
    assert caplog.messages == []


def test_what_is_no_experiment_is_refused_or_left_to_the_hub(here):
    with pytest.raises(InputError, match="Output/nobody: no such experiment; expected a name below Output"):
        experiment_dir("nobody")
    assert model_source("someone/model") == "someone/model"
    assert model_source("example/encoders") == str(ROOT / "example/encoders")


@pytest.mark.parametrize("device", ["foo", "cpu:x", "meta", "xpu", "cuda:77"])
def test_a_device_that_is_not_here_is_one_line(device):
    with pytest.raises(InputError, match=f"^device {device}: ") as refused:
        check_device(device)
    assert "\n" not in str(refused.value)
    check_device("cpu")
