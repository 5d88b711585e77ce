import numpy as np
import pytest
import torch

from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.corrupted_files import CorruptedFiles
from lakd_mm.evaluation.sample_images import draw_indices

SIZE = 7


@pytest.fixture
def folder(tmp_path):
    """The format of CIFAR-10-C with 7 images: a pixel is 10 x severity + image, or its reverse."""
    values = 10 * np.arange(1, 6)[:, None] + np.arange(SIZE)
    images = np.broadcast_to(values.reshape(-1, 1, 1, 1), (5 * SIZE, 4, 4, 3)).astype(np.uint8)
    images = images + np.arange(3, dtype=np.uint8) * 70
    np.save(tmp_path / 'fog.npy', images)
    np.save(tmp_path / 'snow.npy', 255 - images)
    np.save(tmp_path / 'labels.npy', np.tile(np.arange(SIZE) % 3, 5))
    return tmp_path


def test_batches(folder):
    files = CorruptedFiles(folder)
    assert files.names == ['fog', 'snow']
    chosen = draw_indices(SIZE, 5, seed=3)
    batches = list(files.batches('fog', 4, count=5, batch_size=2, seed=3))
    assert [len(images) for images, _ in batches] == [2, 2, 1]
    images, labels = (torch.cat(parts) for parts in zip(*batches))
    assert images.shape == (5, 3, 4, 4) and images.dtype == torch.uint8
    assert torch.equal(images[:, 0, 0, 0], (40 + chosen).byte())
    assert torch.equal(images[:, 2, 3, 3], (180 + chosen).byte())
    assert torch.equal(labels, chosen % 3)
    # All, where there are fewer than asked for; another corruption and severity.
    ((images, labels),) = files.batches('snow', 1, count=100)
    assert images[:, 0, 0, 0].tolist() == [255 - 10 - i for i in range(SIZE)]
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_mistakes(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"no frog.npy; did you mean 'fog'"):
        CorruptedFiles(folder, ['frog'])
    with pytest.raises(ConfigError, match='are folders of <corruption>.npy and labels.npy'):
        CorruptedFiles(tmp_path / 'none')
    (folder / 'fog.npy').write_bytes(b'not an array')
    with pytest.raises(ConfigError, match='fog.npy is not an array that NumPy can read'):
        CorruptedFiles(folder)
    for images in (np.zeros((34, 4, 4, 3), np.uint8), np.zeros((35, 4, 4, 3)), np.zeros(35)):
        np.save(folder / 'fog.npy', images)
        with pytest.raises(ConfigError, match='fog.npy: it holds .* for 35 labels'):
            CorruptedFiles(folder)
    assert CorruptedFiles(folder, ['snow']).names == ['snow']
    (folder / 'labels.npy').unlink()
    with pytest.raises(ConfigError, match='and labels.npy'):
        CorruptedFiles(folder)
