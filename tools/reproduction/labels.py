"""Names for people."""

METHODS = {
    'teacher': 'teacher',
    'scratch': 'from scratch',
    'kd': 'KD',
    'crd': 'CRD',
    'ofd': 'OFD',
    'fitnet': 'FitNet',
    'fitnet_stages': 'FitNet, each stage',
    'rkd': 'RKD',
    'at': 'AT',
    'cat_kd': 'CAT-KD',
    'lakd': 'LAKD',
    'cankd': 'CanKD',
    'lakd_cankd': 'LAKD with CanKD as feature loss',
    'baseline': 'from scratch',
    'kd_fa': 'KD + FA',
    'kd_at': 'KD + AT',
    'kd_fa_at': 'KD + FA + AT',
    'kd_fa_at_no_mask': 'KD + FA + AT, no mask',
    'kd_fa_at_soft': 'KD + FA + AT, soft mask',
    'kd_fa_at_integrated_gradients': 'KD + FA + AT, integrated gradients',
    'kd_fa_at_contrast': 'KD + FA + AT + contrast',
    'no_detach_369': 'taps [3, 6, 9], gradient not cut',
    'detach_369': 'taps [3, 6, 9]',
    'detach_259': 'taps [2, 5, 9]',
    'detach_149': 'taps [1, 4, 9]',
    'off': 'no mapping',
    'avg50_max50': 'average 0.5, maximum 0.5, absolute values',
    'avg50_max50_no_abs': 'average 0.5, maximum 0.5, signed values',
    'avg25_max75': 'average 0.25, maximum 0.75, absolute values',
    'avg25_max75_no_abs': 'average 0.25, maximum 0.75, signed values',
}
PAIRS = {
    'r56_r20': 'ResNet-56 → ResNet-20',
    'r110_r32': 'ResNet-110 → ResNet-32',
    'r32x4_r8x4': 'ResNet-32x4 → ResNet-8x4',
    'wrn40_2_wrn16_2': 'WRN-40-2 → WRN-16-2',
    'wrn40_2_wrn40_1': 'WRN-40-2 → WRN-40-1',
    'vgg13_vgg8': 'VGG-13 → VGG-8',
    'r34_r18': 'ResNet-34 → ResNet-18',
    'r56cbam_r20': 'ResNet-56 + CBAM → ResNet-20',
}
METRICS = {
    'accuracy/top1': 'top-1 (%)',
    'accuracy/top5': 'top-5 (%)',
    'extracurricular_knowledge/percent': 'EK (%)',
}
TITLES = {
    'table1': 'Table 1',
    'table2': 'Table 2',
    'table3': 'Table 3',
    'table4': 'Table 4',
    'table5': 'Table 5',
    'fig1': 'Figure 1',
    'fig5': 'Figure 5',
    'cankd': 'CanKD',
    'causal': 'Causal masks',
}


def row_label(row: str) -> str:
    """A method or setting."""
    return METHODS.get(row, row)


def column_label(column: str) -> str:
    """A pair of networks."""
    return PAIRS.get(column, column)


def metric_label(metric: str) -> str:
    """A metric."""
    return METRICS.get(metric, metric)


def target_title(name: str, title: str) -> str:
    """A table or figure of the paper."""
    return f'{TITLES.get(name, name)}: {title}'
