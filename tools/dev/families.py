"""Write which methods run on which backbone families of MMPretrain, and why the others are refused.

Each family is the student of a small ResNet-34 for one step, forward and backward, in a process of
its own, so that one that crashes takes no other with it. LAKD's gradients are also checked: none
crosses a cut.

MMPretrain's other backbones are no families of classifiers: CSPNet is the base of three rows, and
SparseResNet and SparseConvNeXt are ResNet and ConvNeXt for images that SparK has masked.
The row of timm needs that package.

Usage: python tools/dev/families.py [FAMILY …] [--seconds 600] [--table FILE.md] [--json FILE.json]
"""

import argparse
import importlib.util
import json
import logging
import multiprocessing
import re
import signal
import time
import warnings
from collections import Counter
from pathlib import Path
from queue import Empty

import torch
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

import lakd_mm  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 10
VIT_64 = dict(img_size=64)
LINEAR = dict(type='LinearClsHead', num_classes=CLASSES, loss=dict(type='CrossEntropyLoss'))


def _vit(layers, channels=64, heads=4):
    return dict(
        embed_dims=channels, num_layers=layers, num_heads=heads, feedforward_channels=2 * channels
    )


def _net(backbone, channels, neck=True):
    """A classifier of a backbone for which MMPretrain has no config."""
    pooling = dict(type='GlobalAveragePooling') if neck else None
    head = dict(LINEAR, in_channels=channels)
    return dict(type='ImageClassifier', backbone=backbone, neck=pooling, head=head)


# A config of MMPretrain (or a model), what its backbone has instead, and the side of an image.
FAMILIES = {
    'AlexNet': (dict(type='ImageClassifier', backbone=dict(type='AlexNet', num_classes=CLASSES),
                     head=dict(type='ClsHead')), {}, 224),
    'LeNet-5': (dict(type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=CLASSES),
                     head=dict(type='ClsHead')), {}, 32),
    'VGG': ('vgg/vgg11bn_8xb32_in1k.py', dict(num_classes=CLASSES), 224),
    'ResNet': ('resnet/resnet18_8xb32_in1k.py', {}, 64),
    'ResNetV1c': ('resnet/resnetv1c50_8xb32_in1k.py', {}, 64),
    'ResNetV1d': ('resnet/resnetv1d50_8xb32_in1k.py', {}, 64),
    'ResNet_CIFAR': ('resnet/resnet18_8xb16_cifar10.py', {}, 64),
    'ResNeXt': ('resnext/resnext50-32x4d_8xb32_in1k.py', {}, 64),
    'SE-ResNet': ('seresnet/seresnet50_8xb32_in1k.py', {}, 64),
    'SE-ResNeXt': ('seresnet/seresnext50-32x4d_8xb32_in1k.py', {}, 64),
    'Wide-ResNet': ('wrn/wide-resnet50_8xb32_in1k.py', {}, 64),
    'Res2Net': ('res2net/res2net50-w14-s8_8xb32_in1k.py', {}, 64),
    'ResNeSt': ('resnest/resnest50_32xb64_in1k.py', {}, 64),
    'RegNet': ('regnet/regnetx-400mf_8xb128_in1k.py', {}, 64),
    'DenseNet': ('densenet/densenet121_4xb256_in1k.py', {}, 64),
    'Inception V3': ('inception_v3/inception-v3_8xb32_in1k.py', dict(num_classes=CLASSES), 128),
    'CSPDarkNet': ('cspnet/cspdarknet50_8xb32_in1k.py', {}, 64),
    'CSPResNet': ('cspnet/cspresnet50_8xb32_in1k.py', {}, 64),
    'CSPResNeXt': ('cspnet/cspresnext50_8xb32_in1k.py', {}, 64),
    'HRNet': ('hrnet/hrnet-w18_4xb32_in1k.py', {}, 64),
    'MobileNetV2': ('mobilenet_v2/mobilenet-v2_8xb32_in1k.py', {}, 64),
    'MobileNetV3': ('mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py', {}, 64),
    'MobileOne': ('mobileone/mobileone-s0_8xb32_in1k.py', {}, 64),
    'ShuffleNetV1': ('shufflenet_v1/shufflenet-v1-1x_16xb64_in1k.py', {}, 64),
    'ShuffleNetV2': ('shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py', {}, 64),
    'EfficientNet': ('efficientnet/efficientnet-b0_8xb32_in1k.py', {}, 64),
    'EfficientNetV2': ('efficientnet_v2/efficientnetv2-b0_8xb32_in1k.py', {}, 64),
    'RepVGG': ('repvgg/repvgg-A0_8xb32_in1k.py', {}, 64),
    'RepMLP': ('repmlp/repmlp-base_8xb64_in1k.py', dict(
        img_size=64, reparam_conv_kernels=(1, 3), arch=dict(
            channels=[32, 64, 128, 256], depths=[1, 1, 2, 1], sharesets_nums=[1, 4, 32, 128]),
        ), 64),
    'RepLKNet': (_net(dict(type='RepLKNet', out_indices=(3, ), arch=dict(
        large_kernel_sizes=[7, 7, 5, 3], layers=[1, 1, 2, 1], channels=[32, 64, 128, 256],
        small_kernel=3, dw_ratio=1)), 256), {}, 64),
    'ConvMixer': ('convmixer/convmixer-768-32_10xb64_in1k.py', dict(arch=dict(
        embed_dims=64, depth=4, patch_size=7, kernel_size=7)), 64),
    'ConvNeXt': ('convnext/convnext-tiny_32xb128_in1k.py', {}, 64),
    'ConvNeXt V2': ('convnext_v2/convnext-v2-atto_32xb32_in1k.py', {}, 64),
    'HorNet': ('hornet/hornet-tiny_8xb128_in1k.py', {}, 64),
    'VAN': ('van/van-tiny_8xb128_in1k.py', {}, 64),
    'PoolFormer': ('poolformer/poolformer-s12_32xb128_in1k.py', {}, 64),
    'RIFormer': ('riformer/riformer-s12_8xb128_in1k.py', {}, 64),
    'EfficientFormer': ('efficientformer/efficientformer-l1_8xb128_in1k.py', {}, 224),
    'EdgeNeXt': ('edgenext/edgenext-xxsmall_8xb256_in1k.py', {}, 64),
    'MobileViT': ('mobilevit/mobilevit-xxsmall_8xb128_in1k.py', {}, 64),
    'ViG': ('vig/vig-tiny_8xb128_in1k.py', {}, 224),
    'Pyramid ViG': ('vig/pvig-tiny_8xb128_in1k.py', {}, 224),
    'MLP-Mixer': ('mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py', dict(img_size=64, arch=dict(
        embed_dims=64, num_layers=4, tokens_mlp_dims=32, channels_mlp_dims=128)), 64),
    'ViT': ('vision_transformer/vit-base-p16_64xb64_in1k.py', dict(VIT_64, arch=_vit(8)), 64),
    'ViT (mean of tokens)': (_net(dict(
        type='VisionTransformer', arch=_vit(8), img_size=64, final_norm=True, with_cls_token=False,
        out_type='featmap'), 64), {}, 64),
    'DeiT': ('deit/deit-tiny_4xb256_in1k.py', dict(VIT_64, arch=_vit(8)), 64),
    'DeiT (distilled)': ('deit/deit-tiny-distilled_4xb256_in1k.py',
                         dict(VIT_64, arch=_vit(8)), 64),
    'DeiT III': ('deit3/deit3-small-p16_64xb64_in1k.py', dict(VIT_64, arch=_vit(8)), 64),
    'BEiT': (_net(dict(type='BEiTViT', arch=_vit(8), img_size=64, out_type='avg_featmap',
                       use_abs_pos_emb=False, use_rel_pos_bias=True,
                       use_shared_rel_pos_bias=False), 64, False), {}, 64),
    'EVA-02': ('eva02/eva02-tiny-p14_in1k.py', dict(img_size=56, arch=_vit(4)), 56),
    'SAM ViT': (_net(dict(type='ViTSAM', arch=dict(_vit(4), global_attn_indexes=[1, 3]),
                          img_size=64, patch_size=16, out_channels=64, window_size=2), 64), {}, 64),
    'T2T-ViT': ('t2t_vit/t2t-vit-t-14_8xb64_in1k.py', dict(img_size=64, num_layers=4), 64),
    'TNT': ('tnt/tnt-s-p16_16xb64_in1k.py', dict(img_size=64, arch=dict(
        embed_dims_outer=64, embed_dims_inner=16, num_layers=4, num_heads_outer=4,
        num_heads_inner=4)), 64),
    'XCiT': ('xcit/xcit-nano-12-p16_8xb128_in1k.py', dict(depth=4), 64),
    'Rev-ViT': (_net(dict(type='RevVisionTransformer', arch=_vit(4), img_size=64, patch_size=16,
                          out_type='avg_featmap'), 128, False), {}, 64),
    'LeViT': ('levit/levit-128s_8xb256_in1k.py', dict(img_size=128), 128),
    'Conformer': ('conformer/conformer-tiny-p16_8xb128_in1k.py', {}, 64),
    'MViT': ('mvit/mvitv2-tiny_8xb256_in1k.py', dict(img_size=64), 64),
    'Swin': ('swin_transformer/swin-tiny_16xb64_in1k.py', dict(
        pad_small_map=True, img_size=64, window_size=4,
        arch=dict(embed_dims=32, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])), 64),
    'Swin V2': ('swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px.py', dict(
        img_size=64, window_size=[4, 4, 4, 2],
        arch=dict(embed_dims=32, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8],
                  extra_norm_every_n_blocks=0)), 64),
    'DaViT': ('davit/davit-tiny_4xb256_in1k.py', dict(pad_small_map=True, window_size=4), 64),
    'HiViT': ('hivit/hivit-tiny-p16_16xb64_in1k.py', VIT_64, 64),
    'MixMIM': (_net(dict(type='MixMIMTransformer', img_size=64, window_size=[4, 4, 4, 2],
                         arch=dict(embed_dims=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8])),
                    256, False), {}, 64),
    'TinyViT': ('tinyvit/tinyvit-5m_8xb256_in1k.py', dict(
        img_size=(64, 64), window_size=[4, 4, 4, 2]), 64),
    'Twins-PCPVT': ('twins/twins-pcpvt-small_8xb128_in1k.py', {}, 64),
    'Twins-SVT': ('twins/twins-svt-small_8xb128_in1k.py', {}, 64),
    'TIMM ResNet': (_net(dict(type='TIMMBackbone', model_name='resnet18'), 512), {}, 64),
    'torchvision ResNet': (dict(type='mmrazor.ModuleClassifier', num_classes=CLASSES,
                                factory='torchvision.models.resnet18'), {}, 64),
    'torchvision MobileNetV3': (dict(type='mmrazor.ModuleClassifier', num_classes=CLASSES,
                                     factory='torchvision.models.mobilenet_v3_small'), {}, 64),
    'torchvision Swin': (dict(type='mmrazor.ModuleClassifier', num_classes=CLASSES,
                              factory='torchvision.models.swin_t'), {}, 64),
    'torchvision ViT': (dict(
        type='mmrazor.ModuleClassifier', num_classes=CLASSES, image_size=64, patch_size=16,
        num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128,
        factory='torchvision.models.VisionTransformer'), {}, 64),
}  # fmt: skip

L2 = dict(type='mmrazor.L2Loss', normalize=False, div_element=True)
CELLS = {
    'KD': dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits'),
    'CAT-KD': dict(loss=dict(type='mmrazor.CATLoss'), at='cams'),
    'FitNet': dict(loss=L2, at='stages'),
    'AT': dict(loss=dict(type='mmrazor.AttentionTransferLoss'), at='stages', connector=None),
    'CanKD': dict(loss=dict(type='mmrazor.CanKDLoss'), at='stages'),
    'LAKD': None,
}
TEACHER = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=34, base_channels=16, stem_channels=16),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=CLASSES, in_channels=128),
)


def student_cfg(family):
    """The config of a family's student and the shape of its images."""
    model, instead, side = FAMILIES[family]
    if isinstance(model, str):
        model = get_config(f'mmpretrain::{model}').model.to_dict()
    model = {k: v for k, v in model.items() if k not in ('train_cfg', 'pretrained')}
    model['backbone'] = dict(model['backbone'], **instead) if 'backbone' in model else None
    if model['backbone'] is None:
        del model['backbone']
    head = model.get('head')
    if head:
        for part in (head, head.get('loss', {})):
            if 'num_classes' in part:
                part['num_classes'] = CLASSES
        if head['type'] in ('EfficientFormerClsHead', 'LeViTClsHead'):
            # With it MMPretrain only tests.
            head['distillation'] = False
        arch = instead.get('arch')
        widths = arch if isinstance(arch, dict) else instead
        width = widths.get('embed_dims', widths.get('embed_dims_outer'))
        if 'channels' in widths:
            width = widths['channels'][-1]
        elif width and 'depths' in widths:
            width *= 2 ** (len(widths['depths']) - 1)
        if width and isinstance(head.get('in_channels'), int):
            head['in_channels'] = width
    for part in (head, (head or {}).get('loss'), model.get('neck'), model.get('backbone'), model):
        for config in part if isinstance(part, list) else [part]:
            if config and '.' not in config['type']:
                config['_scope_'] = 'mmpretrain'
    # LeNet-5 reads grey images.
    return model, (1 if family == 'LeNet-5' else 3, side, side)


def run_cell(method, cfg, shape, **options):
    """Train one step; raises where it is refused."""
    torch.manual_seed(0)
    student = MODELS.build(cfg)
    teacher = dict(TEACHER, backbone=dict(TEACHER['backbone'], in_channels=shape[0]))
    cfg = dict(architecture=student, teacher=teacher, input_shape=shape, **options)
    if method == 'LAKD':
        model = MODELS.build(dict(cfg, type='mmrazor.LAKD', backward='joint'))
    else:
        transfers = dict(loss_transfer=CELLS[method])
        model = MODELS.build(dict(cfg, type='mmrazor.Distill', transfers=transfers))
    images = torch.randn(2, *shape)
    samples = [DataSample().set_gt_label(i) for i in range(2)]
    modules = isolation(model, images, samples) if method == 'LAKD' else 0
    losses = model(images, samples, mode='loss')
    total = sum(v for k, v in losses.items() if 'loss' in k)
    assert total.isfinite(), f'a loss is not finite: {losses}'
    total.backward()
    grads = [p.grad for p in model.student.parameters() if p.grad is not None]
    assert grads and all(grad.isfinite().all() for grad in grads), 'gradients are not finite'
    return f'runs in {modules} modules' if modules else 'runs'


def isolation(model, images, samples):
    """Check that no loss sends a gradient across a cut; return the number of modules."""
    student, taps = model.student, model.student.tap_names
    records, owner = {}, {}

    def ran(layer, args):
        for parameter in layer.parameters(recurse=False):
            owner.setdefault(parameter, len(records))

    def tapped(name):
        def hook(layer, args, output):
            tensors = output if isinstance(output, (tuple, list)) else (output,)
            records[name] = next(t for t in tensors if isinstance(t, torch.Tensor))

        return hook

    network = student.architecture
    root = [p for m in (network, network.backbone) for p in m.parameters(recurse=False)]
    handles = [
        network.get_submodule(t).register_forward_hook(tapped(t), prepend=True) for t in taps
    ]
    handles += [m.register_forward_pre_hook(ran) for m in network.backbone.modules()]
    losses = model(images, samples, mode='loss')
    for handle in handles:
        handle.remove()
    last = student.num_cuts
    for name, loss in losses.items():
        if 'loss' not in name:
            continue
        found = re.search(r'module(\d+)', name)
        own = min(int(found[1]) - 1 if found else last, last)
        earlier = [records[tap] for tap in taps[:own]]
        earlier += [p for p, i in owner.items() if i < own and not any(p is r for r in root)]
        later = [p for p, i in owner.items() if i > own and own < last]
        # A network may hold layers frozen, as PoolFormer its first one.
        others = [tensor for tensor in earlier + later if tensor.requires_grad]
        if not others:
            continue
        grads = torch.autograd.grad(loss, others, retain_graph=True, allow_unused=True)
        assert all(g is None or not g.any() for g in grads), f'{name} crosses a cut'
    return last + 1


def run_family(family, queue):
    """Fill a family's row."""
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    cfg, shape = student_cfg(family)
    for method in CELLS:
        queue.put((method, cell(method, cfg, shape)))


def cell(method, cfg, shape):
    """Say what became of one method."""
    try:
        return run_cell(method, cfg, shape)
    except ValueError as error:
        refused = f'refused: {error}'
    except Exception as error:
        return f'fails: {type(error).__name__}: {error}'
    if method == 'LAKD' and 'class activation maps' in refused:
        try:
            found = run_cell(method, cfg, shape, attention_loss=None)
        except Exception as error:
            return f'{refused}; without class attention: {type(error).__name__}: {error}'
        return f'{found} without class attention, which is {refused}'
    return refused


def row(family, seconds=600.0):
    """Run a family in a process of its own; None if it is not done in time, and is ended."""
    end = time.monotonic() + seconds
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    process = context.Process(target=run_family, args=(family, queue))
    process.start()
    cells = {}
    while len(cells) < len(CELLS):
        if time.monotonic() > end:
            process.kill()
            return None
        try:
            method, found = queue.get(timeout=2 if process.is_alive() else 0.2)
            cells[method] = ' '.join(found.split())
        except Empty:
            if not process.is_alive():
                break
    process.join()
    if process.exitcode:
        code = process.exitcode
        name = signal.Signals(-code).name if code < 0 else f'exit status {code}'
        cells = {method: cells.get(method, f'crashes: {name}') for method in CELLS}
    return cells


def table(rows):
    """The rows as Markdown: short marks, and the reasons below."""
    reasons = {}
    lines = [f'| family | {" | ".join(CELLS)} |', '|---' * (len(CELLS) + 1) + '|']
    for family, cells in rows.items():
        marks = []
        for found in cells.values():
            if found == 'runs' or re.fullmatch(r'runs in \d+ modules?', found):
                marks.append(found)
                continue
            head, _, reason = found.partition(': ')
            number = reasons.setdefault(
                re.sub(r'^transfers.*? of the student: ', '', reason), len(reasons) + 1
            )
            marks.append(f'{head.removesuffix(", which is refused")} [{number}]')
        lines.append(f'| {family} | {" | ".join(marks)} |')
    counted = Counter(f.split()[0].rstrip(':') for cells in rows.values() for f in cells.values())
    counts = ', '.join(f'{number} {name}' for name, number in sorted(counted.items()))
    notes = [f'{number}. {reason}' for reason, number in reasons.items()]
    return '\n'.join([
        '# Backbone families', '',
        '`python tools/dev/families.py` ran one step of each method (forward and backward, two '
        'images) with each family as the student of a small ResNet-34; for LAKD it checked, '
        'exactly, that no gradient crosses a cut.', '', f'Combinations: {counts}.', '', *lines, '',
        '## Reasons', '',
        *notes, '',
    ])  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('families', nargs='*', help='defaults to all; others keep their rows')
    parser.add_argument('--table', default=ROOT / 'docs/families.md', type=Path)
    parser.add_argument('--json', default=ROOT / 'docs/families.json', type=Path)
    parser.add_argument(
        '--seconds', default=600.0, type=float, help='limit for a family; then its row is kept'
    )
    args = parser.parse_args()
    unknown = set(args.families) - set(FAMILIES)
    if unknown:
        parser.error(f'no family {min(unknown)!r}; there are {", ".join(FAMILIES)}')
    known = json.loads(args.json.read_text()) if args.json.exists() else {}
    without_timm = importlib.util.find_spec('timm') is None
    every = (name for name in FAMILIES if not (name.startswith('TIMM') and without_timm))
    for family in args.families or every:
        found = row(family, args.seconds)
        print(family, found or f'not done in {args.seconds:g} s, left as it was', flush=True)
        known.update({family: found} if found else {})
        rows = {name: known[name] for name in FAMILIES if name in known}
        args.json.write_text(json.dumps(rows, indent=2) + '\n')
        args.table.write_text(table(rows))


if __name__ == '__main__':
    main()
