from lakd_mm.evaluation.tap_curves import logged_distances


def test_a_line_cut_short_is_left_out(tmp_path):
    """As a kill may leave it; the lines around it count."""
    path = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    lines = ['{"tap_distance/tap1": 2.0, "step": 1}', '{"tap_distance/tap1": 1.0, "st']
    path.write_text('\n'.join(lines))
    assert logged_distances(tmp_path) == {'tap1': {1: 2.0}}
