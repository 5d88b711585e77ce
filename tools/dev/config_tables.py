"""The tables that write_configs.py writes the configs from."""

# Of each network: the base of its model, arguments of its backbone, and of its head, where they are
# not the base's.
NETWORKS = {
    'resnet8': ('resnet', 'depth=8', ''),
    'resnet14': ('resnet', 'depth=14', ''),
    'resnet20': ('resnet', 'depth=20', ''),
    'resnet32': ('resnet', 'depth=32', ''),
    'resnet44': ('resnet', 'depth=44', ''),
    'resnet56': ('resnet', 'depth=56', ''),
    'resnet110': ('resnet', 'depth=110', ''),
    'resnet8x4': ('resnet', 'depth=8, widen_factor=4', 'in_channels=256'),
    'resnet32x4': ('resnet', 'depth=32, widen_factor=4', 'in_channels=256'),
    'resnet56_cbam': ('resnet', "type='mmrazor.CBAMCIFARResNet', depth=56", ''),
    'vgg8': ('vgg', 'depth=8', ''),
    'vgg13': ('vgg', 'depth=13', ''),
    'wrn16_2': ('wrn', 'depth=16, widen_factor=2', ''),
    'wrn40_1': ('wrn', 'depth=40, widen_factor=1', 'in_channels=64'),
    'wrn40_2': ('wrn', 'depth=40, widen_factor=2', ''),
    'mobilenetv2': ('mobile', "type='mmrazor.CIFARMobileNetV2'", ''),
    'shufflenetv1': (
        'mobile',
        "type='mmrazor.CIFARShuffleNetV1'",
        'in_channels=960, init_cfg=None',
    ),
    'shufflenetv2': (
        'mobile',
        "type='mmrazor.CIFARShuffleNetV2'",
        'in_channels=1024, init_cfg=None',
    ),
    # MMPretrain's own.
    'resnet50_cifar': (
        'mmpretrain::_base_/models/resnet50_cifar.py',
        'zero_init_residual=False',
        'num_classes=100, init_cfg=None',
    ),
    'resnet18_cifar': ('mmpretrain::_base_/models/resnet18_cifar.py', '', ''),
    'resnet50_cbam': (
        'mmpretrain::_base_/models/resnet50_cifar.py',
        "type='mmrazor.CBAMResNet_CIFAR'",
        '',
    ),
    'resnet18': ('mmpretrain::_base_/models/resnet18.py', '', ''),
    'resnet34': ('mmpretrain::_base_/models/resnet34.py', '', ''),
}
CIFAR100_NETWORKS = [
    *('resnet8', 'resnet14', 'resnet20', 'resnet32', 'resnet44', 'resnet56', 'resnet110'),
    *('resnet8x4', 'resnet32x4', 'vgg8', 'vgg13', 'wrn16_2', 'wrn40_1', 'wrn40_2'),
]
# Of the literature's pairs of two families.
MOBILE_AND_RESNET50 = ['mobilenetv2', 'shufflenetv1', 'shufflenetv2', 'resnet50_cifar']
CBAM_AND_RESNET18 = ['resnet18_cifar', 'resnet50_cbam', 'resnet56_cbam']
# What is trained without a teacher, by what follows the network in the config's name.
TRAININGS = {
    'cifar100': CIFAR100_NETWORKS + MOBILE_AND_RESNET50,
    '240e_cifar100': CIFAR100_NETWORKS + MOBILE_AND_RESNET50,
    'cifar10': CIFAR100_NETWORKS + CBAM_AND_RESNET18,
    '240e_cifar10': [
        *('resnet20', 'resnet56', 'vgg8', 'vgg13', 'wrn16_2', 'wrn40_1', 'wrn40_2'),
        *CBAM_AND_RESNET18,
    ],
    '30e_cifar10': ['resnet50_cbam'],
    'imagenet': ['resnet18', 'resnet34'],
    'step_imagenet': ['resnet18'],
    'digits': ['resnet14', 'resnet32'],
}
# Of each end of a config's name: the base of the data, the schedule's, and lines of its own.
RECIPES = {
    'cifar100': ('cifar100', 'cifar_300e_linear', []),
    '240e_cifar100': ('cifar100', 'cifar_240e_step', []),
    'cifar10': ('cifar10', 'cifar_300e_linear', []),
    '240e_cifar10': ('cifar10', 'cifar_240e_step', []),
    '30e_cifar10': ('cifar10_val', 'cifar_30e_early_stop', []),
    'imagenet': ('imagenet', 'imagenet_100e_linear', []),
    'step_imagenet': (
        'imagenet',
        'imagenet_100e_step',
        ['train_dataloader = dict(batch_size=512)'],
    ),
    'digits': ('digits', 'cifar_300e_linear', ['train_cfg = dict(max_epochs=8)']),
}

LOW_RATE = 'optim_wrapper = dict(optimizer=dict(lr=0.01))'
# What a family of networks has besides when it is trained, by recipe.
OF_FAMILY = {
    'mobile': {
        '240e_cifar100': ["# The literature's for MobileNets and ShuffleNets.", LOW_RATE],
        'cifar100': [
            "# The literature's for MobileNets and ShuffleNets; under this recipe our reading.",
            LOW_RATE,
        ],
    }
}

PUBLISHED = 'https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet/'
# Of each pair: teacher, student, data, and the published checkpoint or the training of the teacher.
# Pairs of MMPretrain's networks have a base of their own.
PAIRS = {
    'r56_r20_cifar100': ('resnet56', 'resnet20', 'cifar100_resnet56-f2eff4c8.pt'),
    'r56_r20_cifar10': ('resnet56', 'resnet20', 'cifar10_resnet56-187c023a.pt'),
    'r110_r32_cifar100': ('resnet110', 'resnet32', '240e_cifar100'),
    'r32x4_r8x4_cifar100': ('resnet32x4', 'resnet8x4', '240e_cifar100'),
    'wrn40_2_wrn16_2_cifar100': ('wrn40_2', 'wrn16_2', '240e_cifar100'),
    'wrn40_2_wrn40_1_cifar100': ('wrn40_2', 'wrn40_1', '240e_cifar100'),
    'vgg13_vgg8_cifar100': ('vgg13', 'vgg8', '240e_cifar100'),
    'r50_mv2_cifar100': ('resnet50_cifar', 'mobilenetv2', '240e_cifar100'),
    'vgg13_mv2_cifar100': ('vgg13', 'mobilenetv2', '240e_cifar100'),
    'r32x4_shuv1_cifar100': ('resnet32x4', 'shufflenetv1', '240e_cifar100'),
    'r32x4_shuv2_cifar100': ('resnet32x4', 'shufflenetv2', '240e_cifar100'),
    'wrn40_2_shuv1_cifar100': ('wrn40_2', 'shufflenetv1', '240e_cifar100'),
    'r56cbam_r20_cifar10': ('resnet56_cbam', 'resnet20', 'cifar10'),
    'r32_r14_digits': ('resnet32', 'resnet14', 'digits'),
    'r34_r18_imagenet': None,
    'r50cbam_r18_cifar10': None,
}
# Of a teacher of another family than the student's: arguments of its backbone and of its head.
OTHER_FAMILY = {
    'resnet50_cifar': ("type='mmpretrain.ResNet_CIFAR', depth=50", 'in_channels=2048'),
    'vgg13': ("type='mmrazor.CIFARVGG', depth=13", 'in_channels=512'),
    'resnet32x4': ("type='mmrazor.CIFARResNet', depth=32, widen_factor=4", 'in_channels=256'),
    'wrn40_2': ("type='mmrazor.CIFARWideResNet', depth=40, widen_factor=2", 'in_channels=128'),
}
EPOCHS = {'240e_cifar100': 240, 'cifar10': 300, 'digits': 8}
R56_R20 = ('r56_r20_cifar100', 'r56_r20_cifar10')
MATRIX = [pair for pair in PAIRS if 'cbam' not in pair and 'digits' not in pair]
FIRST = ['r56_r20_cifar100']
PUBLISHED_PAIRS = [*FIRST, 'r32x4_r8x4_cifar100', 'r34_r18_imagenet']
# Of each method: its pairs, and the base that defines it.
METHODS = {
    **dict.fromkeys(
        ('at', 'cankd', 'cat_kd', 'crd', 'fitnet', 'kd', 'ofd', 'rkd'), (MATRIX, 'classification')
    ),
    'hmat': (R56_R20, 'classification'),
    'lakd': ([*MATRIX, 'r32_r14_digits'], 'lakd'),
    **dict.fromkeys(
        ('ab', 'cc', 'cwd', 'ft', 'kdsvd', 'nst', 'pkd', 'pkt', 'sp', 'vid'), (FIRST, 'literature')
    ),
    **dict.fromkeys(('dist', 'dkd', 'lskd', 'reviewkd'), (PUBLISHED_PAIRS, 'literature')),
    **dict.fromkeys(('mgd', 'wsld'), ([*FIRST, 'r34_r18_imagenet'], 'literature')),
}
# What a method has otherwise for a pair on CIFAR-100, as published.
PAIR_CHANGES = {
    ('dkd', 'r32x4_r8x4'): ['model.transfers.loss_dkd.loss.beta = 8.0'],
    ('reviewkd', 'r32x4_r8x4'): ['model.transfers.loss_reviewkd.loss.loss_weight = 5.0'],
}
# CAT-KD's loss for each pair, from its published configs; LAKD's paper names no weights of its own.
# None is published for CIFAR-10 and digits, which have the one of ResNet-56 to -20 (our reading).
CAT_LOSS = {
    'r56_r20': 'loss_weight=0.7',
    'r32_r14': 'loss_weight=0.7',
    'r110_r32': 'loss_weight=1.8',
    'r32x4_r8x4': 'loss_weight=15.0',
    'wrn40_2_wrn16_2': 'loss_weight=12.0',
    'wrn40_2_wrn40_1': 'loss_weight=1.5',
    'vgg13_vgg8': 'loss_weight=4.5',
    'r50_mv2': 'normalize=True, loss_weight=40.0',
    'vgg13_mv2': 'normalize=True, loss_weight=15.0',
    'r32x4_shuv1': 'pool_size=4, normalize=True, loss_weight=600.0',
    'r32x4_shuv2': 'pool_size=4, normalize=True, loss_weight=600.0',
    'wrn40_2_shuv1': 'pool_size=4, normalize=True, loss_weight=80.0',
    'r34_r18': 'pool_size=4, loss_weight=0.5',
}
# LAKD's taps in the student and in the teacher.
TAPS = {
    'r56_r20': ([1, 4, 9], [9, 18, 27]),
    'r32_r14': ([1, 3, 6], [5, 10, 15]),
    'r110_r32': ([1, 6, 15], [18, 36, 54]),
    'r32x4_r8x4': ([1, 2, 3], [5, 10, 15]),
    'wrn40_2_wrn16_2': ([1, 3, 6], [6, 12, 18]),
    'wrn40_2_wrn40_1': ([1, 7, 18], [6, 12, 18]),
    'vgg13_vgg8': ([1, 2, 3, 4], [2, 4, 6, 8]),
    # The last tap is the convolution behind the last stage, which else no feature loss would reach.
    'r50_mv2': ([1, 4, 7, 'backbone.conv2'], [3, 7, 13, 16]),
    'vgg13_mv2': ([1, 4, 7, 'backbone.conv2'], [2, 4, 6, 8]),
    'r32x4_shuv1': ([1, 5, 16], [5, 10, 15]),
    'r32x4_shuv2': ([1, 5, 'backbone.conv2'], [5, 10, 15]),
    'wrn40_2_shuv1': ([1, 5, 16], [6, 12, 18]),
    'r34_r18': ([1, 2, 4, 8], [1, 3, 7, 16]),
}
LAKD_IMAGENET = [
    '# By shape, so that the third stage is not aligned (our reading).',
    '# Memory peaks in the stem.',
    'teacher_twice=True,',
]
# What a method has otherwise on ImageNet, and under the literature's recipe for it.
IMAGENET = {
    'kd': [
        "# The literature's temperature and weights for ImageNet.",
        'model.ce_weight = 0.5',
        'model.transfers.loss_kd.loss.update(tau=1, loss_weight=0.5)',
    ],
    'crd': ['model.transfers.loss_crd.loss.num_data = 1281167'],
    'ofd': [
        'model.transfers.loss_ofd.loss.loss_weight = 0.1'
        "  # 1e-4 over all, the literature's for ImageNet"
    ],
    'dist': ['model.transfers.loss_dist.loss.tau = 1'],
    'dkd': [
        'model.transfers.loss_dkd.loss.update(tau=1, beta=0.5)',
        'model.transfers.loss_dkd.warmup = 1',
    ],
    'lskd': [
        "# Its authors' for ImageNet.",
        'model.ce_weight = 0.5',
        'model.transfers.loss_lskd.loss.update(tau=1, loss_weight=0.5)',
    ],
    'mgd': ["model.transfers.loss_mgd['at'] = [4]"],
    'reviewkd': [
        'model.transfers.loss_reviewkd.loss.loss_weight = 1.0',
        "model.transfers.loss_reviewkd.update(position='pre_relu', warmup=1)",
    ],
    'wsld': ['model.transfers.loss_wsld.loss.update(tau=2, loss_weight=2.5)'],
}
STEP_IMAGENET = {
    'crd': [
        "# The literature's for this method.",
        'train_dataloader = dict(batch_size=256)',
        'optim_wrapper = dict(optimizer=dict(lr=0.1))',
        'auto_scale_lr = dict(base_batch_size=256)',
    ],
    'lskd': [
        "# Its authors'.",
        'train_dataloader = dict(batch_size=512)',
        'optim_wrapper = dict(optimizer=dict(lr=0.1))',
    ],
}
STEP_IMAGENET['reviewkd'] = STEP_IMAGENET['crd']
CONTRAST = [
    "loss=dict(type='mmrazor.ContrastiveAttentionLoss', temperature=0.1),",
    'connector=None,',
]
CBAM_PAIRS = ('r50cbam_r18_cifar10', 'r56cbam_r20_cifar10')
# Students from scratch, by their names in a pair.
CAUSAL_BASELINES = {'r18': 'resnet18_cifar', 'r20': 'resnet20'}
CAUSAL_GROUPS = ('kd', 'kd_fa', 'kd_at', 'kd_fa_at')
CAUSAL_ABLATIONS = {
    'no_mask': "dict(_delete_=True, method='none')",
    'soft': 'dict(percentile=None)',
    'integrated_gradients': "dict(method='integrated_gradients', steps=4)",
}
TABLE3 = (
    '# Table 3: no activation mapping (our reading: with it, Table 5 has more at the same taps).'
)
# LAKD's ablations: comment, taps, weights of the mean and the maximum, and more.
LAKD_ABLATIONS = {
    **{
        f'table3_{name}': (
            TABLE3,
            taps,
            'avg_weight=0.0, max_weight=0.0',
            more,
        )
        for name, taps, more in (
            ('detach_taps149', [1, 4, 9], []),
            ('detach_taps259', [2, 5, 9], []),
            ('detach_taps369', [3, 6, 9], []),
            ('no_detach_taps369', [3, 6, 9], ['detach=False,']),
        )
    },
    **{
        f'table5_ndam_{name}': ('# Table 5', [3, 6, 9], weights, [])
        for name, weights in (
            ('avg25_max75', 'avg_weight=0.25, max_weight=0.75, use_abs=True'),
            ('avg25_max75_no_abs', 'avg_weight=0.25, max_weight=0.75, use_abs=False'),
            ('avg50_max50', 'avg_weight=0.5, max_weight=0.5, use_abs=True'),
            ('avg50_max50_no_abs', 'avg_weight=0.5, max_weight=0.5, use_abs=False'),
            ('off', 'avg_weight=0.0, max_weight=0.0'),
        )
    },
}
LAKD_CANKD = [
    "# LAKD's modules, each aligned by CanKD in place of the activation mapping (our combination).",
    "model = dict(feature_loss=dict(_delete_=True, type='mmrazor.CanKDLoss'))",
]

# Two teachers, of which the second one is trained first.
ENSEMBLE = [
    '# Train the second teacher first: teachers/resnet44_240e_cifar100.py.',
    'teacher = _base_.model.teacher',
    'model = dict(',
    '    teacher=[teacher, dict(teacher, backbone=dict(teacher.backbone, depth=44))],',
    '    teacher_ckpt=[',
    '        _base_.model.teacher_ckpt,',
    "        'work_dirs/resnet44_240e_cifar100/epoch_240.pth',",
    '    ],',
    ')',
    'del teacher',
]

OPENMMLAB = 'https://download.openmmlab.com/'
# Of each detector pair: the student's config, the teacher's backbone beside its depth, the
# teacher's checkpoint, and the parts that a student may inherit.
DETECTORS = {
    'retinanet_r101_r50': (
        'retinanet/retinanet_r50_fpn_2x_coco.py',
        '',
        (
            'mmdetection/v2.0/retinanet',
            'retinanet_r101_fpn_2x_coco',
            'retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth',
        ),
        ['neck', 'bbox_head'],
    ),
    'retinanet_x101_r50': (
        'retinanet/retinanet_r50_fpn_2x_coco.py',
        "type='ResNeXt', groups=64, base_width=4, ",
        (
            'mmdetection/v2.0/retinanet',
            'retinanet_x101_64x4d_fpn_1x_coco',
            'retinanet_x101_64x4d_fpn_1x_coco_20200130-366f5af1.pth',
        ),
        ['neck', 'bbox_head'],
    ),
    'faster_rcnn_r101_r50': (
        'faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py',
        '',
        (
            'mmdetection/v2.0/faster_rcnn',
            'faster_rcnn_r101_fpn_2x_coco',
            'faster_rcnn_r101_fpn_2x_coco_bbox_mAP-0.398_20200504_210455-1d2dac9c.pth',
        ),
        ['neck', 'rpn_head', 'roi_head'],
    ),
    # Images of several sizes, and MSRA's weights ("caffe"), as in both networks' results.
    'fcos_r101_r50': (
        'fcos/fcos_r50-caffe_fpn_gn-head_ms-640-800-2x_coco.py',
        '',
        (
            'mmdetection/v2.0/fcos',
            'fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco',
            'fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth',
        ),
        ['neck', 'bbox_head'],
    ),
}
# Its authors' optimizer, for 2 GPUs of 2 images.
CANKD_OPTIMIZER = [
    'optim_wrapper = dict(',
    '    optimizer=dict(lr=0.005, momentum=0.9, weight_decay=0.0001),',
    '    clip_grad=dict(max_norm=35, norm_type=2),',
    ')',
    'auto_scale_lr = dict(base_batch_size=4)',
]
FGD = {
    'faster_rcnn_r101_r50': [
        '# The fifth level is the fourth, subsampled.',
        "model.transfers.loss_fgd['at'] = dict(neck=[0, 1, 2, 3])",
        'model.transfers.loss_fgd.loss.update(alpha=5e-5, beta=2.5e-5, gamma=5e-5, lambda_=5e-7)',
    ],
    'fcos_r101_r50': [
        'model.transfers.loss_fgd.loss.update(',
        '    temperature=0.8, alpha=1.6e-3, beta=8e-4, gamma=8e-4, lambda_=8e-6',
        ')',
    ],
}
# Of each segmenter pair: the student's config, the teacher's backbone, the arguments of its heads,
# its checkpoint, and lines of its own.
SEGMENTERS = {
    f'{name}_r101_r18': (
        f'{name}/{name}_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        ['backbone=dict(_base_.model.backbone, depth=101),'],
        (', channels=512', ', channels=256'),
        f'mmsegmentation/v0.5/{name}',
        f'{name}_r101-d8_512x1024_80k_cityscapes',
        f'{name}_r101-d8_512x1024_80k_cityscapes_{date}.pth',
        [],
    )
    for name, date in (
        ('deeplabv3', '20200606_113503-9e428899'),
        ('pspnet', '20200606_112211-e1e1100f'),
    )
}
SEGMENTERS['deeplabv3_r101_mbv2'] = (
    'mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py',
    [
        'backbone=dict(',
        "    type='ResNetV1c',",
        '    depth=101,',
        '    num_stages=4,',
        '    out_indices=(0, 1, 2, 3),',
        '    strides=(1, 2, 1, 1),',
        '    dilations=(1, 1, 2, 4),',
        '    norm_cfg=_base_.model.backbone.norm_cfg,',
        '    contract_dilation=True,',
        '),',
    ],
    ('', ''),
    *SEGMENTERS['deeplabv3_r101_r18'][3:6],
    [
        "model.transfers.loss_cankd['at'] = "
        "dict(student=['backbone.layer7'], teacher=['backbone.layer4'])"
    ],
)
