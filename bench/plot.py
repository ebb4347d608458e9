"""Bar charts of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def bars(path: Path, title: str, figures: Sequence[tuple[str, float]], log: bool = True) -> None:
    """Write a horizontal bar chart; the format is the path's suffix."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.45 * len(figures) + 1), layout="constrained")
    names = [name for name, _ in figures]
    drawn = axes.barh(
        names, [value for _, value in figures], color=["#1f6feb" if "neve" in n else "#9aa4b2" for n in names]
    )
    axes.bar_label(drawn, fmt=lambda value: f"{value:,.0f}" if value >= 100 else f"{value:,.4g}", padding=4)
    axes.set_title(title, loc="left")
    axes.set_xscale("log" if log else "linear")
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
