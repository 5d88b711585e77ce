from lakd_mm.visualization.markdown import markdown_table

LINES = [['method', 'top-1 (%)', ''], ['LAKD †', '7.50', '1e3'], ['two  words', '', 12]]


def test_in_a_file_cells_are_as_they_are():
    """Neither padded nor read as numbers, so that one number changes one line."""
    assert markdown_table(LINES).splitlines() == [
        '| method | top-1 (%) |  |',
        '|---|---|---|',
        '| LAKD † | 7.50 | 1e3 |',
        '| two  words |  | 12 |',
    ]


def test_on_a_terminal_columns_are_aligned():
    header, line, *rows = markdown_table(LINES, aligned=True).splitlines()
    assert set(line) == {'|', '-'}
    assert {len(row) for row in rows} == {len(header)} == {len(line)}
    assert rows[0].startswith('| LAKD †     |') and rows[0].endswith(' 7.50 | 1e3 |')


def test_a_table_without_rows():
    assert markdown_table([['a', 'b']]) == '| a | b |\n|---|---|'
