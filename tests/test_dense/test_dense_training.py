"""Training through the Runner, and the student that comes out of it."""

import json
import sys

import numpy as np
import pytest
import torch
from dense_networks import SIZE, needs
from mmengine.runner import Runner

from lakd_mm.engine import ConfigError, export_student
from lakd_mm.engine.networks import load_network

pytestmark = pytest.mark.dense

# Neither of our package nor of MMRazor.
DETECT = """
import json, sys, cv2
from mmdet.apis import inference_detector, init_detector
model = init_detector('student.py', 'student.pth', device='cpu', palette='random')
found = inference_detector(model, cv2.imread(sys.argv[1])).pred_instances
assert not {'lakd_mm', 'mmrazor'} & set(sys.modules)
print('RESULT', json.dumps([type(model).__name__, found.scores.tolist(), found.bboxes.tolist()]))
"""
SEGMENT = """
import json, sys, cv2
from mmseg.apis import inference_model, init_model
model = init_model('student.py', 'student.pth', device='cpu')
assert len(model.dataset_meta['classes']) == len(model.dataset_meta['palette']) == 19
found = inference_model(model, cv2.imread(sys.argv[1])).seg_logits.data
assert not {'lakd_mm', 'mmrazor'} & set(sys.modules)
print('RESULT', json.dumps([type(model).__name__, found.tolist(), []]))
"""


def keep_all(cfg):
    """Detectors of random weights are sure of nothing."""
    if cfg.default_scope == 'mmdet':
        cfg.model.architecture.test_cfg.update(score_thr=0.0, max_per_img=20)
    return cfg


def predict(code, run, image):
    result = run(sys.executable, '-c', code, image)
    assert result.returncode == 0, result.stdout
    (line,) = (line for line in result.stdout.splitlines() if line.startswith('RESULT '))
    return json.loads(line.partition(' ')[2])


@pytest.mark.parametrize(
    'name, code, kind',
    [
        pytest.param(
            'cankd/cankd_retinanet_r101_r50_inherit_2x_coco.py',
            DETECT,
            'RetinaNet',
            marks=needs('mmdet'),
        ),
        pytest.param(
            'cankd/cankd_pspnet_r101_r18_80k_cityscapes.py',
            SEGMENT,
            'EncoderDecoder',
            marks=needs('mmseg'),
        ),
    ],
)
def test_train_export_predict(small_config, dense_steps, run, tmp_path, name, code, kind):
    cfg = keep_all(small_config(name))
    work_dir = tmp_path / 'run'
    logged = dense_steps.train(cfg, steps=2, learning_rate=1e-3, folder=str(work_dir))
    assert len(logged) == 2 and all(np.isfinite(step['loss']) for step in logged)
    original = keep_all(small_config(name))
    made = export_student(work_dir, tmp_path / 'student.pth', original)
    text = (tmp_path / 'student.py').read_text()
    assert 'lakd_mm' not in text and 'mmrazor' not in text and 'teacher' not in text

    batch = next(iter(Runner.build_dataloader(original.val_dataloader)))
    found_kind, values, boxes = predict(code, run, batch['data_samples'][0].img_path)
    assert found_kind == kind == type(made.network).__name__
    # The same as the student inside the distillation predicts.
    network, _ = load_network(original, str(work_dir / 'iter_2.pth'))
    with torch.no_grad():
        (expected,) = network.test_step(batch)
    if kind == 'RetinaNet':
        torch.testing.assert_close(torch.tensor(values), expected.pred_instances.scores)
        torch.testing.assert_close(torch.tensor(boxes), expected.pred_instances.bboxes)
    else:
        assert expected.seg_logits.data.shape == (19, SIZE, SIZE)
        torch.testing.assert_close(torch.tensor(values), expected.seg_logits.data)


@needs('mmdet')
def test_train_and_test_tools(small_config, run_tool, tmp_path):
    """tools/train.py validates with COCO's metric, tools/test.py tests what it has left."""
    cfg = keep_all(small_config('fgd/fgd_retinanet_r101_r50_2x_coco.py'))
    cfg.default_hooks.logger.interval = 1
    cfg.train_cfg.max_epochs = 1
    cfg.train_dataloader.dataset.indices = 2
    cfg.val_dataloader.dataset.indices = cfg.test_dataloader.dataset.indices = 2
    cfg.dump(tmp_path / 'small.py')
    result = run_tool('train.py', 'small.py')
    assert result.returncode == 0, result.stdout
    assert 'coco/bbox_mAP' in result.stdout and 'distill.loss_fgd5' in result.stdout
    result = run_tool('test.py', 'small.py', 'work_dirs/small/epoch_1.pth')
    assert result.returncode == 0, result.stdout
    assert 'coco/bbox_mAP' in result.stdout


@needs('mmdet')
def test_heads_are_compared_with_the_data(small_config, dense_steps, tmp_path):
    cfg = small_config('cankd/cankd_retinanet_r101_r50_2x_coco.py')
    cfg.model.architecture.bbox_head.num_classes = 3
    with pytest.raises(ConfigError, match='has 80 classes.*model.architecture has num_classes=3'):
        dense_steps.train(cfg, steps=1, learning_rate=1e-3, folder=str(tmp_path))
