"""The order of the files: what takes long begins first, so that the cores of a machine end at about the same time."""

from pathlib import Path

LONG = (
    "repository/test_readme.py",
    "training/test_compile.py",
    "demo/test_demo.py",
    "repository/test_slurm.py",
    "repository/test_train_scripts.py",
    "training/test_sharded.py",
    "training/test_resume.py",
    "benchmarks/test_check_gpu.py",
    "preprocess/test_get_xray.py",
    "evaluate/test_evaluation.py",
    "training/test_launch.py",
    "evaluate/test_evaluation_folders.py",
    "repository/test_pretrained.py",
    "evaluate/test_evaluate_points.py",
    "inference/test_hub.py",
    "training/test_training_hub.py",
    "recipes/test_recipes.py",
)
"""The longest first. run_tests.sh leaves the order to this (--no-loadscope-reorder)."""

HERE = Path(__file__).parent
PLACES = {HERE / name: place for place, name in enumerate(LONG)}


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: PLACES.get(item.path, len(LONG)))
