"""The literature's CIFAR networks as functions of a state dict with its names: slow, and plain.

Each network has ``*_state``, a made-up checkpoint, and ``*_forward``, which gives the stages, the
same before their ReLU, and the logits.
"""

import torch
import torch.nn.functional as F


class MadeUp(dict):
    """Float64 weights under the given names."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)

    def _draw(self, *shape):
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def conv(self, name, out_channels, in_channels, size=1):
        fan = in_channels * size**2
        self[f'{name}.weight'] = self._draw(out_channels, in_channels, size, size) / fan**0.5

    def norm(self, name, channels):
        for part in ('weight', 'running_var'):
            self[f'{name}.{part}'] = 0.5 + self._draw(channels).abs()
        for part in ('bias', 'running_mean'):
            self[f'{name}.{part}'] = self._draw(channels)
        self[f'{name}.num_batches_tracked'] = torch.tensor(7)

    def linear(self, name, out_channels, in_channels):
        self[f'{name}.weight'] = self._draw(out_channels, in_channels) / in_channels**0.5
        self[f'{name}.bias'] = self._draw(out_channels)


def layer(state, x, conv, norm, stride=1, groups=1):
    """A convolution that keeps the size but for its stride, and BatchNorm in eval mode."""
    weight = state[f'{conv}.weight']
    x = F.conv2d(x, weight, None, stride, weight.shape[2] // 2, groups=groups)
    mean, var = (state[f'{norm}.running_{part}'][:, None, None] for part in ('mean', 'var'))
    scale, shift = (state[f'{norm}.{part}'][:, None, None] for part in ('weight', 'bias'))
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def shuffle(x, groups):
    """Channel c of C goes to place c % (C / groups) * groups + c // (C / groups)."""
    size, out = x.shape[1] // groups, torch.empty_like(x)
    for c in range(x.shape[1]):
        out[:, c % size * groups + c // size] = x[:, c]
    return out


def classify(state, x, name):
    return x.mean((2, 3)) @ state[f'{name}.weight'].T + state[f'{name}.bias']


# Of each group of blocks: expansion, width, number of blocks, first stride.
MOBILENET = [
    *((1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2)),
    *((6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1)),
]


def mobilenet_state():
    state, width = MadeUp(), 16
    state.conv('conv1.0', 16, 3, 3)
    state.norm('conv1.1', 16)
    for group, (expansion, out, count, _) in enumerate(MOBILENET):
        for i in range(count):
            name, hidden = f'blocks.{group}.{i}.conv', width * expansion
            state.conv(f'{name}.0', hidden, width)
            state.conv(f'{name}.3', hidden, 1, 3)
            state.conv(f'{name}.6', out, hidden)
            for index, channels in ((1, hidden), (4, hidden), (7, out)):
                state.norm(f'{name}.{index}', channels)
            width = out
    state.conv('conv2.0', 1280, 160)
    state.norm('conv2.1', 1280)
    state.linear('classifier.0', 100, 1280)
    return state


def mobilenet_forward(state, x):
    x, stages = layer(state, x, 'conv1.0', 'conv1.1', 2).relu(), []
    for group, (_, _, count, stride) in enumerate(MOBILENET):
        for i in range(count):
            name = f'blocks.{group}.{i}.conv'
            out = layer(state, x, f'{name}.0', f'{name}.1').relu()
            step = stride if i == 0 else 1
            out = layer(state, out, f'{name}.3', f'{name}.4', step, out.shape[1]).relu()
            out = layer(state, out, f'{name}.6', f'{name}.7')
            x = x + out if x.shape == out.shape else out
        if group in (1, 2, 4, 6):
            stages.append(x)
    x = layer(state, x, 'conv2.0', 'conv2.1').relu()
    return stages, stages, classify(state, x, 'classifier.0')


def shufflenet_v1_state():
    state, width = MadeUp(), 24
    state.conv('conv1', 24, 3)
    state.norm('bn1', 24)
    for stage, (out, count) in enumerate(((240, 4), (480, 8), (960, 4)), 1):
        for i in range(count):
            name, branch = f'layer{stage}.{i}', out - width if i == 0 else out
            inside = branch // 4
            state.conv(f'{name}.conv1', inside, width if width == 24 else width // 3)
            state.conv(f'{name}.conv2', inside, 1, 3)
            state.conv(f'{name}.conv3', branch, inside // 3)
            for index, channels in enumerate((inside, inside, branch), 1):
                state.norm(f'{name}.bn{index}', channels)
            width = out
    state.linear('linear', 100, 960)
    return state


def shufflenet_v1_forward(state, x):
    x, stages, signed = layer(state, x, 'conv1', 'bn1').relu(), [], []
    for stage, count in enumerate((4, 8, 4), 1):
        for i in range(count):
            name, groups = f'layer{stage}.{i}', 1 if x.shape[1] == 24 else 3
            out = layer(state, x, f'{name}.conv1', f'{name}.bn1', 1, groups).relu()
            out = shuffle(out, groups)
            stride = 2 if i == 0 else 1
            out = layer(state, out, f'{name}.conv2', f'{name}.bn2', stride, out.shape[1]).relu()
            out = layer(state, out, f'{name}.conv3', f'{name}.bn3', 1, 3)
            total = torch.cat((out, F.avg_pool2d(x, 3, 2, 1)), 1) if i == 0 else out + x
            x = total.relu()
        stages.append(x)
        signed.append(total)
    return stages, signed, classify(state, x, 'linear')


def shufflenet_v2_state():
    state, width = MadeUp(), 24
    state.conv('conv1', 24, 3)
    state.norm('bn1', 24)
    for stage, (out, count) in enumerate(((116, 4), (232, 8), (464, 4)), 1):
        half = out // 2
        for i in range(count):
            convs = [(half, half, 1), (half, 1, 3), (half, half, 1)]
            if i == 0:
                convs = [(width, 1, 3), (half, width, 1), (half, width, 1), *convs[1:]]
            for index, (channels, inputs, size) in enumerate(convs, 1):
                state.conv(f'layer{stage}.{i}.conv{index}', channels, inputs, size)
                state.norm(f'layer{stage}.{i}.bn{index}', channels)
        width = out
    state.conv('conv2', 1024, 464)
    state.norm('bn2', 1024)
    state.linear('linear', 100, 1024)
    return state


def shufflenet_v2_forward(state, x):
    def run(x, index, stride=1, depthwise=False):
        groups = x.shape[1] if depthwise else 1
        return layer(state, x, f'{name}.conv{index}', f'{name}.bn{index}', stride, groups)

    x, stages, signed = layer(state, x, 'conv1', 'bn1').relu(), [], []
    for stage, count in enumerate((4, 8, 4), 1):
        for i in range(count):
            name = f'layer{stage}.{i}'
            if i == 0:
                left = run(run(x, 1, 2, depthwise=True), 2).relu()
                right = run(run(run(x, 3).relu(), 4, 2, depthwise=True), 5)
            else:
                left, right = x.chunk(2, 1)
                right = run(run(run(right, 1).relu(), 2, depthwise=True), 3)
            total = torch.cat((left, right), 1)
            x = shuffle(torch.cat((left, right.relu()), 1), 2)
        stages.append(x)
        signed.append(total)
    x = layer(state, x, 'conv2', 'bn2').relu()
    return stages, signed, classify(state, x, 'linear')


def resnet50_state():
    state, width = MadeUp(), 64
    state.conv('conv1', 64, 3, 3)
    state.norm('bn1', 64)
    for stage, (inside, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for i in range(count):
            name = f'layer{stage}.{i}'
            for index, shape in enumerate(
                ((inside, width), (inside, inside, 3), (4 * inside, inside)), 1
            ):
                state.conv(f'{name}.conv{index}', *shape)
                state.norm(f'{name}.bn{index}', shape[0])
            if i == 0:
                state.conv(f'{name}.shortcut.0', 4 * inside, width)
                state.norm(f'{name}.shortcut.1', 4 * inside)
            width = 4 * inside
    state.linear('linear', 100, 2048)
    return state


def resnet50_forward(state, x):
    x, stages, signed = layer(state, x, 'conv1', 'bn1').relu(), [], []
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for i in range(count):
            name, stride = f'layer{stage}.{i}', 2 if i == 0 and stage > 1 else 1
            out = layer(state, x, f'{name}.conv1', f'{name}.bn1').relu()
            out = layer(state, out, f'{name}.conv2', f'{name}.bn2', stride).relu()
            out = layer(state, out, f'{name}.conv3', f'{name}.bn3')
            if i == 0:
                x = layer(state, x, f'{name}.shortcut.0', f'{name}.shortcut.1', stride)
            total = x + out
            x = total.relu()
        stages.append(x)
        signed.append(total)
    return stages, signed, classify(state, x, 'linear')
