from pathlib import Path

import pytest

from lakd_mm.errors import ConfigError
from reproduction.targets import PAPER, TARGETS, Budget, find_target, method_cell, select

ROOT = Path(__file__).parents[3]


def test_targets_have_the_cells_of_the_paper():
    sizes = {name: (len(t.rows), len(t.columns), len(t.cells)) for name, t in TARGETS.items()}
    assert sizes == {
        'table1': (10, 6, 60),
        'table2': (8, 1, 8),
        'table3': (6, 1, 6),
        'table4': (1, 2, 2),
        'table5': (5, 1, 5),
        'fig1': (4, 1, 4),
        'causal': (9, 1, 9),
        'methods': (11, 1, 11),
        'lakd_plus': (5, 1, 5),
        'attention': (6, 1, 6),
        'fig5': (3, 1, 3),
    }


@pytest.mark.parametrize('name', TARGETS)
def test_every_cell_has_its_config(name):
    cells = [cell for cell in TARGETS[name].cells if cell.kind != 'memory']
    absent = [
        c.configs['300e'] for c in cells if not (ROOT / 'configs' / c.configs['300e']).exists()
    ]
    assert not absent
    assert cells or name == 'table4'


@pytest.mark.parametrize('name', PAPER['numbers'])
def test_the_papers_numbers_cover_every_cell(name):
    target = TARGETS[name]
    numbers = PAPER['numbers'][name]
    assert set(numbers) == set(target.rows)
    count = len(target.columns) * len(target.metrics)
    assert {len(row) for row in numbers.values()} == {count}
    for cell in target.cells:
        for metric in target.metrics:
            assert target.published(cell, metric) > 25


def top1(method, pair):
    (cell,) = select(TARGETS['table1'], [method], [pair])
    return TARGETS['table1'].published(cell, 'accuracy/top1')


def test_the_papers_numbers_agree_with_themselves():
    """The gains that Table 1 prints, the percentages of Table 4, and EK as counts of 582 errors."""
    pairs = TARGETS['table1'].columns
    gains = dict(zip(pairs, (2.95, 3.12, 3.22, 2.61, 2.49, 4.09)))
    for pair, gain in gains.items():
        assert top1('lakd', pair) - top1('scratch', pair) == pytest.approx(gain)
    memory = PAPER['memory']['r56_r20']
    assert memory['LAKD local [1,4,9]'] / memory['from scratch'] == pytest.approx(
        1 - 0.171, abs=5e-4
    )
    memory = PAPER['memory']['r34_r18']
    assert memory['FitNet, 4 taps'] / memory['from scratch'] == pytest.approx(1.263, abs=5e-4)
    table5 = TARGETS['table5']
    for cell in table5.cells:
        count = table5.published(cell, 'extracurricular_knowledge/percent') * 5.82
        assert count == pytest.approx(round(count), abs=0.03)
    students = TARGETS['table1'].rows[1:]
    best = [max(students, key=lambda method: top1(method, pair)) for pair in pairs]
    assert best.count('lakd') == 3


def test_select():
    table1 = find_target('table1')
    chosen = select(table1, ['lakd', 'scratch'], ['r56_r20', 'vgg13_vgg8'])
    assert [cell.name for cell in chosen] == [
        'scratch_r56_r20',
        'scratch_vgg13_vgg8',
        'lakd_r56_r20',
        'lakd_vgg13_vgg8',
    ]
    assert len(select(table1)) == 60


def test_unknown_names_are_one_error_with_near_ones():
    with pytest.raises(ConfigError, match="'tabel1': did you mean 'table1'.*Known: table1, table2"):
        find_target('tabel1')
    with pytest.raises(ConfigError, match="--methods catkd: .*did you mean 'cat_kd'.*Known: teach"):
        select(find_target('table1'), ['catkd'])
    with pytest.raises(ConfigError, match="--pairs r56_r02: .*did you mean 'r56_r20'"):
        select(find_target('table1'), None, ['r56_r02'])


def test_recipes_and_their_configs():
    cell = method_cell('lakd', 'r56_r20', 'cifar100')
    assert cell.configs == {
        '300e': 'lakd/lakd_r56_r20_cifar100.py',
        '240e': 'lakd/lakd_r56_r20_240e_cifar100.py',
    }
    assert method_cell('scratch', 'r34_r18', 'imagenet').configs == {
        '300e': 'teachers/resnet18_imagenet.py',
        '240e': 'teachers/resnet18_step_imagenet.py',
    }
    assert method_cell('teacher', 'wrn40_2_wrn16_2', 'cifar100').kind == 'test'


def test_a_row_has_changes_of_a_config_of_its_own_too():
    (cell,) = select(TARGETS['lakd_plus'], ['lakd_cankd_kd'])
    assert cell.configs == {'300e': 'cankd/lakd_cankd_r56_r20_cifar100.py'}
    assert dict(cell.changes)['model.extra_losses']['loss_kd']['at'] == 'logits'


def test_budgets_never_share_a_folder():
    option, place = ('model.taps', [2, 5, 9]), ('train_dataloader.dataset.data_root', '/data')
    budgets = [
        Budget(),
        Budget(epochs=3),
        Budget(epochs=30),
        Budget(fraction=0.1),
        Budget(epochs=3, fraction=0.1),
        Budget(epochs=3, held_out=0.1),
        Budget(epochs=3, fraction=0.1, held_out=0.1),
        Budget(options=(option,)),
        Budget(epochs=3, options=(option,)),
    ]
    slugs = [budget.slug('300e') for budget in budgets]
    assert slugs[:5] == ['300e', '300e-3e', '300e-30e', '300e-f0.1', '300e-3e-f0.1']
    assert len(set(slugs)) == len(slugs)
    # Where the data lie is no other run.
    assert Budget(options=(place,)).slug('300e') == '300e'
