import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from mmrazor.models.losses.crd_loss import CRDLoss
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lakd_mm.models.losses import ContrastiveRepresentationLoss, noise_contrastive_loss


def wave(shape, a, b):
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(a * k + b).reshape(shape)


def samples(indices, labels):
    return [
        DataSample(metainfo=dict(sample_idx=i)).set_gt_label(label)
        for i, label in zip(indices, labels)
    ]


@pytest.fixture
def embeddings():
    generator = torch.Generator().manual_seed(0)
    return [F.normalize(torch.randn(3, 8, generator=generator).double(), dim=1) for _ in range(2)]


def make_loss(**kwargs):
    torch.manual_seed(0)
    options = dict(dict(num_data=20, num_negatives=6, dim=8), **kwargs)
    return ContrastiveRepresentationLoss(**options).double()


def test_golden_value():
    scores = wave((4, 9, 1), 0.5, 0.2).exp()[..., 0] / 50
    torch.testing.assert_close(
        noise_contrastive_loss(scores, 50).item(), 3.312865449978795, rtol=1e-12, atol=0
    )


def test_slow_reference(embeddings):
    """Per image and negative, from the formula, for negatives that are made known."""
    loss = make_loss(loss_weight=0.8)
    student, teacher = embeddings
    index = torch.tensor([4, 0, 17])
    drawn = torch.tensor([[1, 2, 3, 5, 6, 7], [9, 9, 10, 11, 12, 1], [0, 2, 4, 6, 8, 10]])
    loss._draw = lambda *_: drawn
    banks = loss.student_bank.clone(), loss.teacher_bank.clone()
    value = loss(student, teacher, samples(index.tolist(), [0, 1, 2]))

    expected, noise = 0.0, 6 / 20
    for feature, bank in ((student, banks[1]), (teacher, banks[0])):
        scores = torch.stack(
            [
                torch.stack([math.e ** (bank[j] @ feature[n] / 0.07) for j in [i, *row]])
                for n, (i, row) in enumerate(zip(index.tolist(), drawn.tolist()))
            ]
        )
        scores = scores / (scores.mean() * 20)
        for positive, *negatives in scores:
            expected -= math.log(positive / (positive + noise + 1e-7)) / 3
            expected -= sum(math.log(noise / (x + noise + 1e-7)) for x in negatives) / 3
    assert value.item() == pytest.approx(0.8 * expected, rel=1e-9)
    # The rows of these images, and no others, moved half of the way.
    row = 0.5 * banks[0][4] + 0.5 * student[0]
    torch.testing.assert_close(loss.student_bank[4], row / row.norm())
    row = 0.5 * banks[1][17] + 0.5 * teacher[2]
    torch.testing.assert_close(loss.teacher_bank[17], row / row.norm())
    others = [i for i in range(20) if i not in index]
    assert torch.equal(loss.teacher_bank[others], banks[1][others])


def test_equals_mmrazors_loss_but_for_its_weight(embeddings):
    """MMRazor's ignores its weight; over two steps, so that the banks count too."""
    ours = make_loss(loss_weight=0.5)
    torch.manual_seed(0)
    theirs = CRDLoss(neg_num=6, sample_n=20, dim_out=8, loss_weight=0.5).double()
    theirs.contrast.memory_v1.copy_(ours.student_bank)
    theirs.contrast.memory_v2.copy_(ours.teacher_bank)
    theirs.contrast.params = theirs.contrast.params.float()
    drawn = torch.tensor([[1, 2, 3, 5, 6, 7], [9, 9, 10, 11, 12, 1], [0, 2, 4, 6, 8, 10]])
    ours._draw = lambda *_: drawn
    index = torch.tensor([4, 0, 17])
    for _ in range(2):
        batch = samples(index.tolist(), [0, 1, 2])
        value = ours(*embeddings, batch)
        batch = [
            DataSample(metainfo=dict(sample_idx=i, contrast_sample_idxs=torch.cat([i[None], row])))
            for i, row in zip(index, drawn)
        ]
        expected = theirs(*embeddings, batch)
        # MMRazor keeps the temperature and the normalizers in float32.
        torch.testing.assert_close(value, 0.5 * expected[0], rtol=1e-5, atol=0)


def test_negatives_are_of_other_classes():
    loss = make_loss(num_negatives=4000)
    loss.labels.copy_(torch.arange(20) % 4)
    index = torch.tensor([3, 6])
    drawn = loss._draw(index, torch.tensor([3, 2]))
    assert drawn.shape == (2, 4000)
    for row, label in zip(drawn, (3, 2)):
        counts = torch.bincount(row, minlength=20).double()
        other = torch.arange(20) % 4 != label
        assert counts[~other].sum() == 0
        assert (counts[other] > 150).all()


@pytest.mark.parametrize('label', [0, 1, 2])
def test_negatives_are_drawn_evenly(label):
    """Chi-squared of 60,000 draws; the classes have 3, 10 and 4 images, 3 are unknown yet."""
    loss = make_loss(num_negatives=20000)
    labels = torch.tensor([0] * 3 + [1] * 10 + [2] * 4 + [-1] * 3)
    loss.labels.copy_(labels[torch.randperm(20, generator=torch.Generator().manual_seed(1))])
    # The third is not known yet: its class is that of the batch.
    index = torch.cat([(loss.labels == label).nonzero()[:2], (loss.labels == -1).nonzero()[:1]])[
        :, 0
    ]
    drawn = loss._draw(index, torch.full((3,), label))
    counts = torch.bincount(drawn.flatten(), minlength=20).double()
    mine = loss.labels == label
    mine[index] = True
    assert counts[mine].sum() == 0
    expected = 60000 / int((~mine).sum())
    statistic = (counts[~mine] - expected).square().sum() / expected
    # Above the 99.99th percentile for 16 degrees of freedom, the most of these.
    assert statistic < 46
    # Images are drawn for themselves: rows differ.
    assert not torch.equal(drawn[0], drawn[1])


def test_one_class_alone_is_drawn_from_all():
    loss = make_loss(num_negatives=4000)
    loss.labels.fill_(5)
    drawn = loss._draw(torch.tensor([3]), torch.tensor([5]))
    assert (torch.bincount(drawn[0], minlength=20) > 150).all()


def test_nothing_waits_for_a_gpu():
    """A CUDA graph can hold it: on a GPU (a pretended one), no shape or branch depends on data."""
    with FakeTensorMode():
        loss = make_loss().float().to('cuda')
        features = [torch.randn(3, 8, device='cuda', requires_grad=True) for _ in range(2)]
        whole = DataSample(
            gt_label=torch.zeros(3, dtype=torch.long, device='cuda'),
            sample_idx=torch.arange(3, device='cuda'),
        )
        value = loss(*features, [whole])
        assert value.device.type == 'cuda' and value.requires_grad
        with pytest.raises(DataDependentOutputException):
            bool(features[0].max() > 0)


def test_one_sample_that_holds_a_batch(embeddings):
    value = make_loss()(*embeddings, samples([4, 0, 17], [0, 1, 2]))
    whole = DataSample(gt_label=torch.tensor([0, 1, 2]), sample_idx=torch.tensor([4, 0, 17]))
    assert torch.equal(make_loss()(*embeddings, [whole]), value)


def test_gradients_and_memory(embeddings):
    loss = make_loss()
    student, teacher = (e.clone().requires_grad_() for e in embeddings)
    loss(student, teacher, samples([0, 1, 2], [0, 1, 2])).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad.abs().sum() > 0
    normalizers = loss.student_normalizer.item(), loss.teacher_normalizer.item()
    assert min(normalizers) > 0 and loss.labels[:3].tolist() == [0, 1, 2]
    loss(*embeddings, samples([3, 4, 5], [0, 1, 2]))
    assert (loss.student_normalizer.item(), loss.teacher_normalizer.item()) == normalizers
    state = {k: v.clone() for k, v in loss.state_dict().items()}
    assert {'student_bank', 'teacher_bank', 'student_normalizer', 'labels'} <= state.keys()
    loss.eval()(*embeddings, samples([6, 7, 8], [0, 1, 2]))
    assert all(torch.equal(v, state[k]) for k, v in loss.state_dict().items())


def test_bad_input(embeddings):
    loss = make_loss()
    with pytest.raises(ValueError, match='image 20 of a training set of num_data=20'):
        loss(*embeddings, samples([0, 1, 20], [0, 1, 2]))
    with pytest.raises(ValueError, match='no sample_idx.*meta_keys'):
        loss(*embeddings, [DataSample().set_gt_label(0)] * 3)
    with pytest.raises(ValueError, match='temperature=0'):
        make_loss(temperature=0)


@pytest.mark.slow
def test_two_processes_keep_the_banks_of_one(run_file, tmp_path, monkeypatch):
    worker = Path(__file__).with_name('crd_worker.py')
    done = run_file(worker, tmp_path, ranks=2)
    assert done.returncode == 0, done.stdout[-3000:]
    monkeypatch.syspath_prepend(str(worker.parent))
    import crd_worker

    expected = crd_worker.steps(0, 1)
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in (0, 1))
    values = [state.pop('value') for state in (first, second, expected)]
    for name, value in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value)
    torch.testing.assert_close((values[0] + values[1]) / 2, values[2])


def test_half_precision_stays_outside(embeddings):
    loss = make_loss().float().eval()
    student, teacher = (e.float() for e in embeddings)
    batch = samples([0, 1, 2], [0, 1, 2])
    loss._draw = lambda *_: torch.arange(18).reshape(3, 6)
    expected = loss(student, teacher, batch)
    with torch.autocast('cpu', torch.bfloat16):
        found = loss(student, teacher, batch)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
