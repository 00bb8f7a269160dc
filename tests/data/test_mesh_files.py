"""Which files are meshes, their ids, and what is left out."""

import os
from pathlib import Path

import pytest

from xray.common.errors import InputError
from xray.data.mesh_files import find_meshes, list_meshes

FAULTS = Path(__file__).parents[2].parent / "shared/faults"


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


def test_meshes_are_found_by_name_and_by_the_folders_of_data_sets(tmp_path):
    for name in ("b.glb", "deep/er/a.PLY", ".hidden/x.obj", "notes.txt", "c.gltf", "c.bin"):
        touch(tmp_path / name)
    for name in ("02958343/1a2b/models/model_normalized.obj", "Shoe_1/meshes/model.obj", "anise_001/Scan/Scan.obj"):
        touch(tmp_path / name)
    touch(tmp_path / "set/models/one.obj")
    touch(tmp_path / "set/models/two.obj")
    found = find_meshes(tmp_path)
    assert list(found) == ["1a2b", "Shoe_1", "a", "anise_001", "b", "c", "one", "two"]
    assert found["1a2b"].name == "model_normalized.obj"
    touch(tmp_path / "other/b.stl")
    with pytest.raises(InputError, match=r"'b' of b\.glb, other/b\.stl"):
        find_meshes(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no mesh"):
        find_meshes(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        find_meshes(tmp_path / "absent")


def test_the_style_of_data_sets_holds_only_for_a_mesh_alone(tmp_path):
    """Else a file's own name is its id: beside another mesh, of any type, or below a folder of meshes."""
    for name in ("assets/models/chair.obj", "assets/models/lamp.gltf", "b/meshes/sofa.obj", "b/meshes/sofa2.fbx"):
        touch(tmp_path / name)
    touch(tmp_path / "c/models/bed.obj")
    touch(tmp_path / "c/table.ply")
    assert list(find_meshes(tmp_path)) == ["bed", "chair", "lamp", "sofa", "table"]
    touch(tmp_path / "0a1b/models/model.obj")
    for companion in ("model.mtl", "model.json", "model.solid.binvox", "wood.png"):
        touch(tmp_path / "0a1b/models" / companion)
    assert "0a1b" in find_meshes(tmp_path)


def test_all_clashes_are_named_at_once_and_paths_are_ids(tmp_path):
    for folder in ("a", "b", "c"):
        touch(tmp_path / folder / "model.obj")
        touch(tmp_path / folder / "deep/mesh.glb")
    touch(tmp_path / "other.obj")
    with pytest.raises(InputError) as error:
        find_meshes(tmp_path)
    text = str(error.value)
    assert "2 object ids of several files" in text
    assert "'model' of a/model.obj, b/model.obj, c/model.obj" in text
    assert "'mesh' of a/deep/mesh.glb" in text
    assert "--id path" in text
    assert "\n" not in text
    assert list(find_meshes(tmp_path, "path")) == [
        *("a/deep/mesh", "a/model", "b/deep/mesh", "b/model", "c/deep/mesh", "c/model", "other"),
    ]
    touch(tmp_path / "a/model.ply")
    with pytest.raises(InputError, match=r"'a/model' of a/model\.obj, a/model\.ply"):
        find_meshes(tmp_path, "path")
    with pytest.raises(InputError, match="id rule 'size'"):
        find_meshes(tmp_path, "size")


def test_linked_folders_are_followed_once(tmp_path):
    root, elsewhere = tmp_path / "meshes", tmp_path / "elsewhere"
    touch(root / "a.obj")
    touch(elsewhere / "b.ply")
    touch(elsewhere / "deep/c.ply")
    (root / "linked").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (elsewhere / "deep/loop").symlink_to(elsewhere)
    (root / "up").symlink_to(tmp_path)
    (root / "gone.obj").symlink_to(tmp_path / "nothing")
    (root / "turn").symlink_to(root / "turn")
    (root / "one.obj").symlink_to(elsewhere / "b.ply")
    found = list_meshes(root)
    assert sorted(found.meshes) == ["a", "b", "c", "one"]
    assert (found.repeated, found.broken) == (3, 2)
    assert found.left_out() == "left out: 3 linked folders that had been read already, 2 links that lead nowhere"


def test_what_is_left_out_is_counted(tmp_path):
    for name in ("a.obj", "a.mtl", "a.PNG", "b.dae", "c.fbx", "x/d.zip", "x/e.zip", "x/readme", ".DS_Store"):
        touch(tmp_path / name)
    text = list_meshes(tmp_path).left_out()
    assert text.startswith("left out: 5 files of other types (.zip 2, ")
    assert ".dae 1" in text
    assert "without type 1" in text
    (tmp_path / "a.obj").unlink()
    with pytest.raises(InputError, match=r"no mesh in this folder.*left out: 5 files"):
        list_meshes(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_named(tmp_path):
    touch(tmp_path / "a.obj")
    (tmp_path / "closed").mkdir(mode=0)
    assert "1 folder that cannot be listed" in list_meshes(tmp_path).left_out()


def test_names_that_cannot_be_ids_are_unfit_and_the_others_are_found(tmp_path):
    root = os.fsencode(tmp_path)
    for name in (b"caf\xe9.obj", b"two\nlines.ply", b"tab\there.off", b"\xff\xfe.glb", b"good.obj", b" x  y .stl"):
        Path(os.fsdecode(root + b"/" + name)).write_text("")
    os.mkdir(root + b"/d\xe9j\xe0")
    Path(os.fsdecode(root + b"/d\xe9j\xe0/vu.ply")).write_text("")
    for odd in ("\u2028sep", "\U0001f4a9", "e\u0301", "\u202ertl", "a;b,c\"d'", "%s{0}$x", "-rf", "a" * 250):
        touch(tmp_path / f"{odd}.stl")
    found = list_meshes(tmp_path)
    assert {"good", " x  y ", "vu", "\u2028sep", "\U0001f4a9", "e\u0301", "-rf", "a" * 250} <= set(found.meshes)
    assert set(found.unfit) == {"caf\\xe9", "two\\nlines", "tab\\there", "\\xff\\xfe"}
    for reason in found.unfit.values():
        reason.encode("utf-8")
        assert "\n" not in reason
    assert "not UTF-8" in found.unfit["caf\\xe9"]
    assert "control character" in found.unfit["two\\nlines"]


@pytest.mark.parametrize("id_rule", ["name", "path"])
def test_ids_that_are_the_names_of_records_are_unfit(tmp_path, id_rule):
    """Their folders would stand where the records have to be written, and no object would be on record."""
    for name in ("render.csv", "Manifest.csv", "render.0-of-8.csv", "render", "manifest.csv2"):
        (tmp_path / f"{name}.off").touch()
    found = list_meshes(tmp_path, id_rule)
    assert list(found.meshes) == ["manifest.csv2", "render"]
    assert sorted(found.unfit) == ["Manifest.csv", "render.0-of-8.csv", "render.csv"]
    for uid, reason in found.unfit.items():
        assert reason == f"{tmp_path}/{uid}.off: its id is the name of a data set's record; rename it"


@pytest.mark.skipif(not FAULTS.is_dir(), reason=f"the faulty inputs are not at {FAULTS}")
def test_the_recorded_faults():
    assert list(find_meshes(FAULTS / "folder_style_id/meshes")) == ["chair", "lamp"]
    with pytest.raises(InputError, match=r"'model' of a/model\.obj, b/model\.obj"):
        find_meshes(FAULTS / "same_names/meshes")
    assert list(find_meshes(FAULTS / "same_names/meshes", "path")) == ["a/model", "b/model", "other"]
    assert "3 files of other types" in list_meshes(FAULTS / "skipped_in_silence/meshes").left_out()
