"""Tables as Markdown."""

from collections.abc import Sequence

from tabulate import DataRow, TableFormat, tabulate

_ROW = DataRow('| ', ' | ', ' |')
# As narrow as can be: in files, a changed number changes no other line.
_NARROW = TableFormat(
    lineabove=None,
    linebelowheader=lambda widths, alignments: '|' + '---|' * len(widths),
    linebetweenrows=None,
    linebelow=None,
    headerrow=_ROW,
    datarow=_ROW,
    padding=0,
    with_header_hide=None,
)


def markdown_table(lines: Sequence[Sequence[object]], aligned: bool = False) -> str:
    """Return a Markdown table of lines of cells, the header first.

    Args:
        lines (Sequence[Sequence[object]]): Cells are written as ``str`` writes them.
        aligned (bool): For a terminal: pad columns to one width, numbers (all but the first column)
            to the right.
    """
    return tabulate(
        lines[1:],
        headers=lines[0],
        tablefmt='github' if aligned else _NARROW,
        disable_numparse=True,
        colalign=['left', *['right'] * (len(lines[0]) - 1)] if aligned else None,
        stralign=None,
        numalign=None,
    )
