"""The table of a comparison of recipes, as Markdown and as JSON."""

from __future__ import annotations

from ..common.files import atomic_path, write_json
from .config import ComparisonConfig
from .scores import BASELINES, mean, metrics_of, score_baseline, score_recipe

COLUMNS = (
    "recipe",
    "CD",
    "F@0.05",
    "hidden CD",
    "hidden F@0.05",
    "hit IoU",
    "M parameters",
    "steps",
    "ms a step",
    "s a sample",
)


def write_table(comparison: ComparisonConfig, pairs: list[tuple[str, str]], plans: dict[str, dict]) -> str:
    """Write table.md and table.json of the (first stage, upsampler) pairs and the baselines; the table's text."""
    rows = {}
    for first, second in pairs:
        rows[f"{first} + {second}"] = _recipe_row(comparison, first, second, plans)
    for name, (note, _) in BASELINES.items():
        rows[name] = {"note": note, **_scores(score_baseline(comparison, name))}
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += [_line(name, row) for name, row in rows.items()]
    lines += ["", *[f"- {name}: {row['note']}" for name, row in rows.items() if row["note"]]]
    text = "\n".join(lines) + "\n"
    with atomic_path(comparison.folder / "table.md") as partial:
        partial.write_text(text, encoding="utf-8")
    write_json(comparison.folder / "table.json", rows)
    return text


def _scores(scores: dict) -> dict:
    first = next(iter(scores["seeds"].values()))
    return {metric: mean(scores, metric) for metric in metrics_of(scores)} | {"views": len(first)}


def _recipe_row(comparison: ComparisonConfig, first: str, second: str, plans: dict[str, dict]) -> dict:
    scores = score_recipe(comparison, first, second)
    recipe = comparison.first_stages[first]
    note = recipe.note if second == next(iter(comparison.upsamplers)) else comparison.upsamplers[second].note
    if recipe.budget != 1:
        note += f" ({recipe.budget:g} times the optimizer time)"
    return {
        "note": note,
        **_scores(scores),
        "parameters": scores["parameters"],
        "sampling_s": scores["sampling_s"],
        "steps": plans[first]["steps"],
        "step_s": plans[first]["step_s"],
    }


def _line(name: str, row: dict) -> str:
    def spread(metric: str) -> str:
        value, deviation = row[metric]
        return f"{value:.4f} ± {deviation:.4f}" if "steps" in row else f"{value:.4f}"

    cells = [name, spread("chamfer"), spread("fscore@0.05"), spread("hidden_chamfer")]
    cells += [f"{row[metric][0]:.3f}" for metric in ("hidden_fscore@0.05", "hit_iou")]
    if "steps" in row:
        cells += [
            f"{row['parameters'][0] / 1e6:.1f}",
            str(row["steps"]),
            f"{1000 * row['step_s']:.0f}",
            f"{row['sampling_s']:.2f}",
        ]
    else:
        cells += ["-"] * 4
    return "| " + " | ".join(cells) + " |"
