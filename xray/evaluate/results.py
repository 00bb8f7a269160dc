"""The results folder of an evaluation: settings, finished samples, the table and the means."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.files import atomic_path, read_json, write_json
from ..data.sample_names import XRAY_ENDING, file_stem
from ..metrics.clouds import DEFINITIONS, HIDDEN_THRESHOLD
from ..metrics.layer_scores import DEFINITIONS as LAYER_DEFINITIONS
from ..metrics.protocols import PROTOCOLS
from ..raycast.visibility import MARGIN

log = logging.getLogger(__name__)

SETTINGS, SUMMARY, TABLE = "settings.json", "metrics.json", "metrics.csv"

NOTES = DEFINITIONS | LAYER_DEFINITIONS | {
    "floor": "chamfer of the truth itself at the prediction's layers and rays: the least that can be reached there",
    "hidden_chamfer": "chamfer between the points of the predicted layers beyond the first and, author and layers: the "
    "points of the true layers beyond the first; surface: the points of the mesh that the camera does not see (their "
    f"ray meets the mesh nearer by more than {MARGIN:g}). Alignment is that of the whole clouds, and none in layers",
    f"hidden_fscore@{HIDDEN_THRESHOLD:g}": "fscore@T between the same points",
}  # fmt: skip


@dataclass(frozen=True)
class Results:
    """Samples of one checkpoint.

    Attributes:
      folder: where they are.
      settings: everything that changes a sample; equal settings make results that can be continued.
    """

    folder: Path
    settings: dict

    @classmethod
    def begin(cls, folder: Path, settings: dict) -> Results:
        """Open a folder for these settings; results of other settings are moved aside under another name."""
        results = cls(folder, json.loads(json.dumps(settings)))
        if folder.is_dir():
            before = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else None
            if before == results.settings:
                return results
            number = 1
            while (kept := folder.with_name(f"{folder.name}_replaced-{number}")).exists():
                number += 1
            folder.rename(kept)
            log.info("%s was made with other weights or settings; it is kept as %s", folder, kept.name)
        write_json(folder / SETTINGS, results.settings)
        return results

    @classmethod
    def open(cls, folder: Path) -> Results:
        """An existing folder. Raises InputError where it has no settings."""
        return cls(folder, read_json(folder / SETTINGS))

    def path(self, name: str, suffix: str) -> Path:
        """File of a sample, as path("chair_003", "_xray.npz")."""
        return self.folder / f"{file_stem(name)}{suffix}"

    def finished(self, name: str) -> bool:
        """Whether a sample was scored; its row is written last, after all of its files."""
        return self._row_path(name).is_file() and self.path(name, XRAY_ENDING).is_file()

    def write_row(self, name: str, row: dict) -> None:
        """Mark a sample finished, with its scores."""
        write_json(self._row_path(name), row)

    def rows(self, names: Iterable[str] | None = None) -> list[dict]:
        """Rows of the named samples (every finished one by default), sorted by name."""
        rows = [read_json(path) for path in (self.folder / "rows").glob("*.json")]
        chosen = None if names is None else set(names)
        return sorted((row for row in rows if chosen is None or row["sample"] in chosen), key=lambda row: row["sample"])

    def write_failure(self, name: str, reason: str) -> None:
        """Record why a sample could not be made; the next run tries it again."""
        write_json(self.folder / "failed" / f"{file_stem(name)}.json", {"sample": name, "reason": reason})

    def failures(self) -> dict[str, str]:
        """name -> reason of the samples that could not be made and have no row."""
        paths = sorted((self.folder / "failed").glob("*.json"))
        reasons = {failed.get("sample", path.stem): failed["reason"] for path in paths for failed in [read_json(path)]}
        return {name: reason for name, reason in reasons.items() if not self.finished(name)}

    def summary(self) -> dict:
        """The content of metrics.json."""
        return read_json(self.folder / SUMMARY)

    def _row_path(self, name: str) -> Path:
        return self.folder / "rows" / f"{file_stem(name)}.json"

    def summarise(self, names: Iterable[str], failures: dict[str, str]) -> dict:
        """Write the table and the means of the named samples.

        Args:
          failures: name -> reason of the samples that could not be made.
        Returns:
          the content of metrics.json.
        """
        rows = self.rows(names)
        summary = {
            "settings": self.settings,
            "definitions": NOTES,
            "names": [row["sample"] for row in rows],
            "failed": failures,
            **summarise(rows),
        }
        write_json(self.folder / SUMMARY, summary)
        write_table(self.folder / TABLE, rows)
        return summary


def summarise(rows: list[dict]) -> dict:
    """Means, medians and counts over rows of {"scores": {protocol: metrics, "layers": metrics}}.

    Returns:
      {"samples": number, "not_finite": samples where the network gave values that are not, "layers": means,
      "protocols": {name: {"truth", "samples", "degenerate", "mean", "median", "missing"}}}.
      Every sample counts in every mean of a protocol; a depth error that does not exist is counted in "missing".
      Numbers of single layers are named layer_depth_error@1 (the first), layer_hit_iou@1, and so on.
    """
    protocols = {}
    for name, truth in PROTOCOLS.items():
        scores = [row["scores"][name] for row in rows if name in row["scores"]]
        if scores:
            degenerate = sum(bool(values["degenerate"]) for values in scores)
            protocols[name] = {"truth": truth, "samples": len(scores), "degenerate": degenerate, **_means(scores)}
    layers = [row["scores"]["layers"] for row in rows if "layers" in row["scores"]]
    broken = sum(row.get("not_finite", 0) > 0 for row in rows)
    return {
        "samples": len(rows),
        "not_finite": broken,
        "protocols": protocols,
        **({"layers": _means(layers)} if layers else {}),
    }


def _means(scores: list[dict]) -> dict:
    """Mean and median of each number; how often one was None or absent."""
    result: dict[str, dict] = {"mean": {}, "median": {}, "missing": {}}
    scores = [_numbers(values) for values in scores]
    for key in dict.fromkeys(key for values in scores for key in values):
        values = [values[key] for values in scores if values.get(key) is not None]
        if len(values) < len(scores):
            result["missing"][key] = len(scores) - len(values)
        if values:
            result["mean"][key], result["median"][key] = float(np.mean(values)), float(np.median(values))
    return result


def _numbers(values: dict) -> dict[str, float | None]:
    """Without texts; a list of one value a layer becomes name@1, name@2, ..."""
    numbers: dict[str, float | None] = {}
    for key, value in values.items():
        if isinstance(value, list):
            numbers |= {f"{key}@{layer}": part for layer, part in enumerate(value, 1)}
        elif not isinstance(value, str):
            numbers[key] = value
    return numbers


def write_table(path: Path, rows: list[dict]) -> None:
    """One line a sample: its name, what describes it, and `protocol.metric` columns."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for line in flat for key in line)) or ["sample"]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(flat)


def _flat(row: dict) -> dict:
    line = {key: value for key, value in row.items() if key != "scores"}
    for group, values in row["scores"].items():
        for key, value in values.items():
            if isinstance(value, list):
                value = " ".join("" if part is None else f"{part:.6g}" for part in value)
            line[f"{group}.{key}"] = value
    return line


HEADLINE = (
    ("chamfer", "mean distance between predicted and true points, both ways together; in units of the object's size"),
    ("fscore@0.05", "share of points nearer than 0.05 to the other shape; 1 is perfect"),
    ("hidden_chamfer", "chamfer of the surfaces alone that the picture does not show"),
    ("normal_consistency", "how well nearest surfaces face the same way; 1 is perfect"),
    ("hit_iou", "share of rays and layers, of those hit in either, that are hit in both; 1 is perfect"),
    ("depth_error", "mean error of depth where both have a hit; in units of the object's size"),
)
"""The most important numbers, with a line of explanation each."""


def headline(summaries: dict[str, dict]) -> str:
    """The means of the six numbers of `HEADLINE` side by side, with their meaning, as lines of text."""
    width = max(len(name) for name, _ in HEADLINE) + 2
    columns = [max(len(label), 8) + 2 for label in summaries]
    heads = "".join(label.rjust(column) for label, column in zip(summaries, columns, strict=True))
    lines = ["".ljust(width) + heads]
    for name, meaning in HEADLINE:
        cells = []
        for summary, column in zip(summaries.values(), columns, strict=True):
            group = "author" if name in summary["protocols"].get("author", {}).get("mean", {}) else "layers"
            value = mean_of(summary, group, name)
            cells.append(("-" if math.isnan(value) else f"{value:.4f}").rjust(column))
        lines.append(f"{name.ljust(width)}{''.join(cells)}   {meaning}")
    counts = (
        str(summary["samples"]).rjust(column) for summary, column in zip(summaries.values(), columns, strict=True)
    )
    lines.append(f"{'views'.ljust(width)}{''.join(counts)}")
    return "\n".join(lines)


def comparison(summaries: dict[str, dict]) -> str:
    """The means of several results side by side, as lines of text."""
    lines = []
    keys: list[tuple[str, str]] = []
    for summary in summaries.values():
        groups = {**{name: value["mean"] for name, value in summary["protocols"].items()}}
        if "layers" in summary:
            groups["layers"] = summary["layers"]["mean"]
        keys += [(group, key) for group, means in groups.items() for key in means if (group, key) not in keys]
    width = max([len(f"{group} {key}") for group, key in keys] + [8])
    lines.append("metric".ljust(width) + "".join(name.rjust(14) for name in summaries))
    for group, key in keys:
        cells = [mean_of(summary, group, key) for summary in summaries.values()]
        text = "".join(("-" if math.isnan(cell) else f"{cell:.4f}").rjust(14) for cell in cells)
        lines.append(f"{group} {key}".ljust(width) + text)
    lines.append("samples".ljust(width) + "".join(str(summary["samples"]).rjust(14) for summary in summaries.values()))
    return "\n".join(lines)


def mean_of(summary: dict, group: str, key: str) -> float:
    """Mean of a metric, NaN where the results do not have it."""
    values = summary.get("layers", {}) if group == "layers" else summary["protocols"].get(group, {})
    return values.get("mean", {}).get(key, math.nan)
