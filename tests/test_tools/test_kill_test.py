"""Killed trainings end as unbroken ones; ``tools/dev/kill_test.py`` does it longer."""

import json

import pytest


@pytest.mark.slow
def test_five_kills(run_tool, tmp_path):
    """One or two in each of three kinds of training."""
    variants = ['iterations', 'workers', 'in memory, CRD']
    out = tmp_path / 'kills.json'
    result = run_tool(
        'dev/kill_test.py', '--kills', '5', '--seed', '4', '--out', out, '--variants', *variants
    )
    assert result.returncode == 0, result.stdout
    found = json.loads(out.read_text())
    assert found['kills'] == found['survived'] == 5
    assert {trial['variant'] for trial in found['trials']} == set(variants)
    assert [trial['differing'] for trial in found['trials']] == [[]] * len(found['trials'])
