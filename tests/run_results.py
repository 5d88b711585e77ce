"""Results as runs leave them, made up."""

from reproduction.runs import VERSION


def train_result(method, accuracies, pair='r56_r20', dataset='cifar100', seed=0, **changes):
    """A result of a training with these accuracies after its epochs."""
    budget = dict(recipe='300e', recipe_epochs=300, max_epochs=len(accuracies), fraction=None)
    budget.update({key: changes.pop(key) for key in list(changes) if key in budget})
    short = budget['max_epochs'] != budget['recipe_epochs']
    slug = f'300e-{budget["max_epochs"]}e' if short else '300e'
    epochs = [
        dict(epoch=i + 1, metrics={'accuracy/top1': value}, loss=1.0, seconds=60.0)
        for i, value in enumerate(accuracies)
    ]
    best = max(epochs, key=lambda epoch: epoch['metrics']['accuracy/top1'])
    result = dict(
        version=VERSION,
        run=f'{dataset}/{method}_{pair}/{slug}/seed{seed}',
        cell=f'{method}_{pair}',
        kind='train',
        dataset=dataset,
        seed=seed,
        options=[],
        metrics=epochs[-1]['metrics'],
        best=dict(epoch=best['epoch'], metrics=best['metrics']),
        seconds=60.0 * len(epochs),
        hardware=dict(device='Test CPU', threads=2, torch='2.11.0'),
        epochs=epochs,
        commit='abc1234',
        command='python tools/reproduce.py table1 --seeds 0',
        data='folder_in_memory',
        teacher='teacher.pt' if method != 'scratch' else None,
        started=['2026-01-01 00:00:00'],
        finished='2026-01-01 01:00:00',
        **budget,
    )
    return {**result, **changes}


def test_result(pair='r56_r20', top1=72.63, dataset='cifar100'):
    """A result of testing a teacher."""
    metrics = {'accuracy/top1': top1}
    result = train_result('teacher', [top1], pair, dataset)
    return {
        **result,
        'kind': 'test',
        'run': f'{dataset}/teacher_{pair}/teacher',
        'max_epochs': 1,
        'epochs': [],
        'best': dict(epoch=0, metrics=metrics),
    }


# No test of pytest's.
test_result.__test__ = False
