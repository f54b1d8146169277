"""The folder that `evaluate --out` writes.

DIR/
  metrics.json             every figure with its interval
  tables.csv               the same as one long table
  report.md                the same to be read, with the plots
  predictions.parquet      a row a comparison
  plots/reliability.png    and by-agreement, coverage; learning-curves, of the run's log; mistakes: a contact sheet
"""

from __future__ import annotations

from pathlib import Path

from photorank.reports import plots
from photorank.reports.figure_tables import long_table, markdown
from photorank.runs import new_run, training_log
from photorank.stages.evaluate import Evaluation
from photorank.stages.mistakes import mistakes_sheet
from photorank.store import FeatureStore
from photorank.strict_json import dumps

_PLOTS = {
    "reliability": (plots.reliability, "calibration: by how sure the run is"),
    "by-agreement": (plots.by_agreement, "by agreement of people"),
    "coverage": (plots.coverage, "the most certain comparisons only"),
}
"""Name → what draws it, of which table."""


def write_evaluation(report: Evaluation, store: FeatureStore, out: Path) -> None:
    """Write the new folder `out`, whole or not at all; RunError where it is there or cannot be written.

    `store` says where the photos of the mistakes were seen.
    """
    with new_run(out) as folder:
        (folder / "metrics.json").write_text(dumps(report.summary(), indent=2) + "\n", encoding="utf-8")
        report.predictions.to_parquet(folder / "predictions.parquet", index=False)
        long_table(report.tables).to_csv(folder / "tables.csv", index=False, encoding="utf-8")
        parts = [f"# {report.title()}\n", *(f"Warning: {each}\n" for each in report.warnings)]
        parts += [markdown(title, table) for title, table in report.tables.items()]
        parts += [f"![{name}](plots/{name}.png)\n" for name in _draw(report, store, folder / "plots")]
        (folder / "report.md").write_text("\n".join(parts), encoding="utf-8")


def _draw(report: Evaluation, store: FeatureStore, folder: Path) -> list[str]:
    """Names of the pictures that there are."""
    for name, (draw, title) in _PLOTS.items():
        draw(report.tables[title], folder / f"{name}.png")
    made = list(_PLOTS)
    log = training_log(Path(report.run))
    if log is not None:
        plots.learning_curves(*log, folder / "learning-curves.png")
        made.append("learning-curves")
    if mistakes_sheet(report.predictions, store, folder / "mistakes.png"):
        made.append("mistakes")
    return made
