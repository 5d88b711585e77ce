"""Measure the time to classify images on the CPU: teacher, student, the student as ONNX, in int8.

The config's networks have random weights, on which the time does not depend. All of them take
turns, and results are medians. Measure on an idle machine: other work interrupts long calls, but
not those of a millisecond.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import report  # noqa: I001  (it imports lakd_mm first)

from lakd_mm.engine import clear_errors
from lakd_mm.engine.command_line import at_least
from lakd_mm.engine.networks import build_network, read_config
from lakd_mm.engine.onnx_export import (
    OnnxClassifier,
    check_onnx_packages,
    export_onnx,
    quantize_onnx,
)
from lakd_mm.engine.plain_config import image_shape
from lakd_mm.evaluation.efficiency import latencies

PARTS = ('teacher', 'student')


def main():
    """Build, export and time the networks of a distillation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a distillation, or package::config')
    parser.add_argument('--batch-sizes', type=at_least(1), nargs='+', default=[1, 64])
    parser.add_argument('--calls', type=at_least(1), default=15, help='measured (default: 15)')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    with clear_errors(), TemporaryDirectory() as folder:
        check_onnx_packages()
        cfg = read_config(args.config)
        torch.manual_seed(0)
        classifiers = {part: build_network(cfg, part).eval() for part in PARTS}
        shape = image_shape(cfg, classifiers['student'])
        sizes = {
            part: 4 * sum(parameter.numel() for parameter in network.parameters())
            for part, network in classifiers.items()
        }
        onnx, int8 = (Path(folder) / f'{name}.onnx' for name in ('float32', 'int8'))
        export_onnx(classifiers['student'], onnx, shape)
        quantize_onnx(onnx, int8, [torch.randn(8, *shape)])
        for name, file in (('student, ONNX', onnx), ('student, ONNX int8', int8)):
            classifiers[name], sizes[name] = OnnxClassifier(file), file.stat().st_size
        rows = [{'network': name, 'kB': round(size / 1e3)} for name, size in sizes.items()]
        for batch in args.batch_sizes:
            times = latencies(classifiers, torch.randn(batch, *shape), args.calls)
            teacher = times['teacher']['p50']
            for row in rows:
                median = times[row['network']]['p50']
                row[f'ms / image, batch {batch}'] = float(f'{median:.3g}')
                row[f'x teacher, batch {batch}'] = round(teacher / median, 2)
    report(
        f'Latency, {Path(args.config).stem}',
        rows,
        args.out,
        images='x'.join(map(str, shape)),
        calls=args.calls,
        runs_on='CPU',
    )


if __name__ == '__main__':
    main()
