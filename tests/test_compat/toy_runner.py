"""Trains a tiny pair under a plain MMEngine Runner; tests start it in processes of their own.

A config is a dict here, changed by ``KEY=VALUE`` on the command line, where the value is Python.
"""

import ast
import sys

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, METRICS
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

import lakd_mm  # noqa: F401  (what is tested)


@DATASETS.register_module()
class ToyImages(Dataset):
    """Sixteen noisy images of two classes: dark ones and bright ones."""

    metainfo = dict(classes=('dark', 'bright'))

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict:
        noise = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index))
        label = index % 2
        return dict(inputs=noise + 2 * label, data_samples=DataSample().set_gt_label(label))


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Counts the images and sums their scores, whichever process saw them."""

    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results += [sample['pred_score'][1].item() for sample in data_samples]

    def compute_metrics(self, results: list) -> dict:
        return dict(images=len(results), score=round(sum(results), 4))


@HOOKS.register_module()
class ReportHook(Hook):
    """Prints what a test compares, once for each process."""

    @staticmethod
    def report(line: str) -> None:
        # One write, so that lines of two processes do not mix.
        sys.stdout.write(f'{line}\n')
        sys.stdout.flush()

    def before_train(self, runner: Runner) -> None:
        self.report(f'START epoch={runner.epoch} iter={runner.iter}')

    def after_train(self, runner: Runner) -> None:
        total = sum(p.double().sum() for p in runner.model.parameters()).item()
        history = runner.message_hub.get_scalar('train/loss').data[0]
        lr = runner.optim_wrapper.get_lr()['lr'][0]
        self.report(
            f'END epoch={runner.epoch} iter={runner.iter} losses={len(history)} lr={lr:.8f} '
            f'sum={total:.10f} model={type(runner.model).__name__}'
        )

    def after_test_epoch(self, runner: Runner, metrics: dict) -> None:
        self.report(f'TEST {metrics}')


def network(channels: int) -> dict:
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(
            type='mmpretrain.ResNet_CIFAR',
            depth=18,
            stem_channels=channels,
            base_channels=channels,
        ),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=2,
            in_channels=channels * 8,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    )


def pair() -> dict:
    logits = dict(logits=dict(type='mmrazor.ModuleOutputs', source='head.fc'))
    return dict(
        type='mmrazor.SingleTeacherDistill',
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0], std=[1.0]),
        architecture=network(2),
        teacher=network(4),
        distiller=dict(
            type='mmrazor.ConfigurableDistiller',
            student_recorders=logits,
            teacher_recorders=logits,
            distill_losses=dict(loss_kd=dict(type='mmrazor.KDSoftCELoss', tau=2.0)),
            loss_forward_mappings=dict(
                loss_kd=dict(
                    preds_S=dict(recorder='logits', from_student=True),
                    preds_T=dict(recorder='logits', from_student=False),
                )
            ),
        ),
    )


def config() -> Config:
    def loader(shuffle: bool) -> dict:
        return dict(
            batch_size=4,
            dataset=dict(type='ToyImages'),
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
        )

    evaluator = [dict(type='mmpretrain.Accuracy'), dict(type='ToyMetric')]
    return Config(
        dict(
            default_scope='mmpretrain',
            model=pair(),
            train_dataloader=loader(shuffle=True),
            val_dataloader=loader(shuffle=False),
            test_dataloader=loader(shuffle=False),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=evaluator,
            test_evaluator=evaluator,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
                dict(type='MultiStepLR', milestones=[1, 2], by_epoch=True),
            ],
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto'),
                logger=dict(type='LoggerHook', interval=1),
            ),
            custom_hooks=[dict(type='EMAHook'), dict(type='ReportHook')],
            randomness=dict(seed=0),
            log_level='WARNING',
        )
    )


if __name__ == '__main__':
    torch.set_num_threads(1)
    cfg = config()
    cfg.merge_from_dict(
        {key: ast.literal_eval(value) for key, value in (a.split('=', 1) for a in sys.argv[1:])}
    )
    runner = Runner.from_cfg(cfg)
    runner.test() if cfg.get('only_test') else runner.train()
