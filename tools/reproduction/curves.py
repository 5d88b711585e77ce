"""Learning curves of a section, as SVG."""

import io
import statistics
from typing import Optional

import matplotlib

from lakd_mm.visualization import curves

from .collect import Section
from .labels import column_label, row_label

METRIC = 'accuracy/top1'


def learning_curves(section: Section) -> Optional[str]:
    """Draws top-1 after each epoch: a panel a pair, a curve a method, the mean over seeds.

    Args:
        section (Section): The runs.

    Returns:
        str: SVG, the same for the same runs; None if no run has two epochs.
    """
    panels: dict = {}
    for entry in section.entries:
        curve = mean_curve(entry.results)
        if len(curve) > 1:
            panel = panels.setdefault(column_label(entry.cell.column), {})
            panel[row_label(entry.cell.row)] = (list(range(1, len(curve) + 1)), curve)
    if not panels:
        return None
    figure = curves(panels, 'epoch', 'top-1 (%)')
    with matplotlib.rc_context({'svg.hashsalt': 'lakd_mm', 'svg.fonttype': 'none'}):
        text = io.StringIO()
        figure.savefig(text, format='svg', metadata={'Date': None})
    return text.getvalue()


def mean_curve(results: list[dict]) -> list[float]:
    """Mean over runs of the accuracy after each epoch, as far as all of them have one."""
    rows = [[epoch['metrics'].get(METRIC) for epoch in result['epochs']] for result in results]
    found = []
    for values in zip(*rows):
        if None in values:
            break
        found.append(statistics.fmean(values))
    return found
