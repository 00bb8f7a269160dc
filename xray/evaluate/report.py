"""One self-contained HTML file about evaluated samples: numbers side by side, charts, layers, points to turn."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from pathlib import Path

from ..common.errors import InputError
from ..common.files import atomic_path
from ..mesh.ply import load_ply
from ..metrics.protocols import PROTOCOLS
from ..visual.point_viewer import SCRIPT, viewer
from ..visual.svg_charts import histogram, lines
from .results import NOTES, SUMMARY, Results, mean_of, summarise

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px auto; max-width: 1500px; padding: 0 20px; color: #222; }
h1 { font-size: 22px; } h2 { font-size: 17px; margin-top: 32px; } h3 { font-size: 14px; }
table { border-collapse: collapse; }
td, th { padding: 3px 12px 3px 0; text-align: right; border-bottom: 1px solid #eee; }
td:first-child, th:first-child { text-align: left; } img { max-width: 100%; border: 1px solid #ddd; }
figure { display: inline-block; margin: 0 12px 12px 0; }
canvas { border: 1px solid #ddd; cursor: grab; touch-action: none; }
figcaption, .note { color: #666; font-size: 12px; } .scroll { max-height: 480px; overflow: auto; }
"""

PICKS = (("best", 0.0), ("median", 0.5), ("worst", 1.0))
"""Samples shown in full, by their place in the order of Chamfer distance."""


def label(settings: dict) -> str:
    """Label of results in a report: "untrained", or "step 1000"."""
    return "untrained" if settings["weights"].startswith("random start") else f"step {settings['step']}"


def comparable(results: Results, beside: Sequence[str | Path] = ()) -> dict[str, Results]:
    """Finished results of the same kind and data, by label, `results` first.

    They are those of the same experiment in the same folder, and the folders `beside`, of any experiment.

    Raises:
      InputError: a folder of `beside` that is not there, or of another kind or other data.
    """
    found = {label(results.settings): results}
    for path in sorted(results.folder.parent.glob(f"*/{SUMMARY}")):
        other = Results.open(path.parent)
        if "_replaced-" not in path.parent.name and _alike(results, other, (*SAME, "experiment", "source")):
            found.setdefault(label(other.settings), other)
    for folder in beside:
        other = Results.open(Path(folder))
        if not (other.folder / SUMMARY).is_file() or not _alike(results, other, SAME):
            raise InputError(f"{folder}: not results of the same stage, data, alignment and codec as {results.folder}")
        if other.folder.resolve() != results.folder.resolve():
            where = other.folder.parent.name
            name = other.settings["experiment"] if where == "evaluate" else where
            found[f"{name}, {label(other.settings)}"] = other
    return found


SAME = ("kind", "data_root", "alignment", "codec")


def _alike(results: Results, other: Results, names: Sequence[str]) -> bool:
    return all(other.settings.get(name) == results.settings.get(name) for name in names)


def side_by_side(results: Results, beside: Sequence[str | Path] = ()) -> dict[str, list[dict]]:
    """label -> rows of the samples that were evaluated last in `results`, for it and every comparable one."""
    names = results.summary()["names"]
    every = {label: other.rows(names) for label, other in comparable(results, beside).items()}
    return {label: rows for label, rows in every.items() if rows}


def write_report(results: Results, beside: Sequence[str | Path] = ()) -> Path:
    """Write report.html into the results' folder; `beside`: further results to show, see `comparable`.

    Raises:
      InputError: no sample was evaluated.
    """
    others, every, settings = comparable(results, beside), side_by_side(results, beside), results.settings
    rows = every.get(label(settings))
    if not rows:
        raise InputError(f"{results.folder}: no evaluated samples to report on")
    title = f"{settings['experiment']}, {settings['kind']}, {label(settings)}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _settings(settings),
        "<h2>Means</h2>",
        _means({name: summarise(found) for name, found in every.items()}),
        _failures(results.summary()["failed"]),
        "<h2>Distribution</h2>",
        _charts(every),
        "<h2>Samples</h2>",
        *_picks(results, rows, others),
        "<h2>All samples</h2>",
        _table(rows),
        "<h2>Definitions</h2>",
        "<table>" + "".join(_line(key, [text]) for key, text in NOTES.items()) + "</table>",
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}<script>{SCRIPT}</script></body></html>\n"
    )
    path = results.folder / "report.html"
    with atomic_path(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _settings(settings: dict) -> str:
    shown = {key: value for key, value in settings.items() if key not in ("experiment", "kind", "source", "codec")}
    codec = ", ".join(f"{key} {value}" for key, value in settings["codec"].items())
    shown |= {"codec": codec}
    if "source" in settings:
        shown["input from"] = f"{settings['source']['experiment']}, {label(settings['source'])}"
    items = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in shown.items() if value is not None)
    return f'<p class="note">{html.escape(items)}</p>'


def _means(summaries: dict[str, dict]) -> str:
    keys = []
    for summary in summaries.values():
        groups = {name: value["mean"] for name, value in summary["protocols"].items()}
        groups["layers"] = summary.get("layers", {}).get("mean", {})
        keys += [(group, key) for group, means in groups.items() for key in means if (group, key) not in keys]
    body = [
        _line(f"{group}: {key}", [_number(mean_of(summary, group, key)) for summary in summaries.values()])
        for group, key in keys
    ]
    body.append(_line("samples", [str(summary["samples"]) for summary in summaries.values()]))
    for name in next(iter(summaries.values()))["protocols"]:
        counts = [str(summary["protocols"].get(name, {}).get("degenerate", "-")) for summary in summaries.values()]
        body.append(_line(f"{name}: degenerate samples", counts))
    return f"<table>{_line('', list(summaries), 'th')}{''.join(body)}</table>"


def _failures(failures: dict[str, str]) -> str:
    if not failures:
        return ""
    items = "".join(f"<li>{html.escape(name)}: {html.escape(reason)}</li>" for name, reason in failures.items())
    return f"<h3>{len(failures)} samples could not be made and are in no mean</h3><ul>{items}</ul>"


def _charts(every: dict[str, list[dict]]) -> str:
    wanted = (("author", "chamfer", "Chamfer distance"), ("author", "fscore@0.02", "F-score at 0.02"))
    wanted += (("layers", "hidden_chamfer", "Chamfer distance of hidden layers"),)
    wanted += (("layers", "hit_iou", "hit IoU"), ("layers", "hidden_hit_iou", "hit IoU of hidden layers"))
    charts = [
        histogram({name: [row["scores"][group][key] for row in rows] for name, rows in every.items()}, title)
        for group, key, title in wanted
    ]
    for key, title in (("layer_hit_iou", "hit IoU, by layer"), ("layer_depth_error", "depth error, by layer")):
        charts.append(lines({name: _by_layer(rows, key) for name, rows in every.items()}, title))
    return "".join(charts)


def _by_layer(rows: list[dict], key: str) -> list[float | None]:
    columns = zip(*[row["scores"]["layers"][key] for row in rows], strict=True)
    known = [[value for value in column if value is not None] for column in columns]
    return [sum(values) / len(values) if values else None for values in known]


def _picks(results: Results, rows: list[dict], others: dict[str, Results]) -> list[str]:
    """Best, median and worst sample: sheet and points, and the same sample of the other results."""
    ranked = sorted(rows, key=lambda row: row["scores"]["author"]["chamfer"])
    parts, shown = [], set()
    for name, place in PICKS:
        row = ranked[round(place * (len(ranked) - 1))]
        sample = row["sample"]
        if sample in shown:
            continue
        shown.add(sample)
        clouds = {}
        sheets = []
        for title, other in others.items():
            if other.finished(sample):
                clouds[f"predicted, {title}"] = load_ply(other.path(sample, "_prd.ply"))
                distance = other.rows([sample])[0]["scores"]["author"]["chamfer"]
                sheets.append(f"<h3>{html.escape(title)}: Chamfer {distance:.4f}</h3>{_image(other, sample)}")
        clouds["truth"] = load_ply(results.path(sample, "_gt.ply"))
        parts += [f"<h3>{name}: {html.escape(sample)}</h3>", viewer(clouds), *sheets]
    return parts


def _image(results: Results, sample: str) -> str:
    content = base64.b64encode(results.path(sample, ".png").read_bytes()).decode()
    return f'<img alt="layers of {html.escape(sample)}" src="data:image/png;base64,{content}">'


def _table(rows: list[dict]) -> str:
    columns = [
        (protocol, key)
        for protocol in PROTOCOLS
        if protocol in rows[0]["scores"]
        for key in ("chamfer", "fscore@0.01", "fscore@0.05", "hidden_chamfer", "hidden_fscore@0.05")
    ]
    columns += [("layers", key) for key in ("hit_iou", "hidden_hit_iou", "depth_error", "hidden_depth_error")]
    head = _line("sample", [f"{group} {key}" for group, key in columns] + ["remark"], "th")
    body = [
        _line(
            row["sample"],
            [_number(row["scores"].get(group, {}).get(key)) for group, key in columns] + [_remark(row)],
        )
        for row in rows
    ]
    return f'<div class="scroll"><table>{head}{"".join(body)}</table></div>'


def _remark(row: dict) -> str:
    broken = row.get("not_finite", 0)
    parts = [row["scores"]["author"]["degenerate"], f"{broken} values were not finite" if broken else ""]
    return "; ".join(filter(None, parts))


def _line(first: str, cells: list[str], tag: str = "td") -> str:
    texts = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in [first, *cells])
    return f"<tr>{texts}</tr>"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
