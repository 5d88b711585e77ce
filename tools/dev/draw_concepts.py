"""Draws the pictures of the documentation, docs/figures/*.svg.

    python tools/dev/draw_concepts.py

tests/test_docs.py compares the committed pictures.
"""

import json
from pathlib import Path

FIGURES = Path(__file__).parents[2] / 'docs' / 'figures'
BENCHMARKS = FIGURES.parent / 'benchmarks'
TEACHER, STUDENT, LOSS, TASK, INK = '#d9dde3', '#cfe3f7', '#fbe3b5', '#d5edd0', '#22272e'
CUT = '#c0392b'


class Drawing:
    """An SVG of boxes, lines and texts on a white ground.

    Args:
        width (int): In pixels.
        height (int): In pixels.
        title (str): What it shows, for who cannot see it.
    """

    def __init__(self, width: int, height: int, title: str):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" font-size="14" '
            f'font-family="Helvetica, Arial, sans-serif" fill="{INK}">',
            f'<title>{title}</title>',
            f'<rect width="{width}" height="{height}" fill="white"/>',
        ]

    def text(self, x, y, text, size=14, anchor='middle', color=INK, weight='normal'):
        """Write a line, centred on its height."""
        self.parts.append(
            f'<text x="{x}" y="{y + size * 0.35:g}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{color}" font-weight="{weight}">{text}</text>'
        )

    def box(self, x, y, width, height, lines, color, radius=6):
        """Draw a box with lines of text in its middle."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" '
            f'fill="{color}" stroke="{INK}" stroke-width="1"/>'
        )
        for i, line in enumerate(lines):
            top = y + height / 2 + (i - (len(lines) - 1) / 2) * 17
            self.text(x + width / 2, top, line, 13 if i else 14)

    def line(self, points, color=INK, dash='', arrow=True, width=1.5):
        """Draw a line through points, with an arrow at its end."""
        path = ' '.join(f'{x},{y}' for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ''
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" '
            f'stroke-width="{width}"{dashes}/>'
        )
        if arrow:
            (x0, y0), (x, y) = points[-2:]
            along = ((x > x0) - (x < x0), (y > y0) - (y < y0))
            back = (x - 8 * along[0], y - 8 * along[1])
            sides = ((back[0] + s * 4 * along[1], back[1] + s * 4 * along[0]) for s in (1, -1))
            corners = ' '.join(f'{a},{b}' for a, b in ((x, y), *sides))
            self.parts.append(f'<polygon points="{corners}" fill="{color}"/>')

    def __str__(self):
        return '\n'.join([*self.parts, '</svg>', ''])


def step() -> Drawing:
    """One step of LAKD."""
    drawing = Drawing(1020, 400, 'One step of LAKD: teacher, student in three modules, losses')
    columns = (150, 370, 590)
    drawing.box(20, 175, 80, 44, ['images'], 'white')
    drawing.text(150, 22, 'Teacher: frozen, runs once without gradients', 14, 'start')
    drawing.line([(60, 175), (60, 64), (147, 64)])
    drawing.line([(60, 219), (60, 324), (147, 324)])
    for i, x in enumerate(columns):
        drawing.box(x, 40, 150, 48, [f'stage {i + 1}'], TEACHER)
        drawing.box(x, 300, 150, 48, [f'module {i + 1}', 'its own backward'], STUDENT)
        drawing.box(x, 168, 150, 58, [f'feature loss {i + 1}', 'weighted by activation'], LOSS)
        drawing.line([(x + 110, 88), (x + 110, 165)])
        drawing.line([(x + 110, 300), (x + 110, 229)])
        # The gradient of a loss ends at the beginning of its module.
        drawing.line([(x + 40, 226), (x + 40, 297)], CUT, '5 3')
        if i < 2:
            drawing.line([(x + 150, 64), (x + 217, 64)])
            drawing.line([(x + 150, 324), (x + 217, 324)])
            drawing.line([(x + 185, 285), (x + 185, 365)], CUT, '3 3', arrow=False, width=2)
            drawing.text(x + 185, 379, 'cut', 13, color=CUT)
    for y, color in ((40, TEACHER), (300, STUDENT)):
        drawing.line([(740, y + 16), (787, y + 16)])
        drawing.box(790, y, 110, 48, ['classifier'], color)
    drawing.box(790, 168, 110, 58, ['class', 'attention'], LOSS)
    drawing.line([(870, 88), (870, 165)])
    drawing.line([(870, 300), (870, 229)])
    drawing.line([(820, 226), (820, 297)], CUT, '5 3')
    drawing.box(930, 300, 80, 48, ['task loss', 'labels'], TASK)
    drawing.line([(900, 316), (927, 316)])
    for start, end in ((930, 903), (790, 743)):
        drawing.line([(start, 334), (end, 334)], CUT, '5 3')
    drawing.text(20, 390, 'black: values', 13, 'start')
    drawing.text(120, 390, 'red: gradients', 13, 'start', CUT)
    return drawing


def places() -> Drawing:
    """Tap, recorder, connector and loss of one transfer."""
    drawing = Drawing(860, 210, 'A transfer: records of both networks, a connector, a loss')
    for y, name, color in ((20, 'teacher', TEACHER), (140, 'student', STUDENT)):
        drawing.box(20, y, 160, 50, [name, 'tap: a module'], color)
        drawing.line([(180, y + 25), (237, y + 25)])
        drawing.box(240, y, 160, 50, ['recorder', 'keeps its output'], 'white')
        drawing.line([(400, y + 25), (457, y + 25)])
    drawing.box(460, 20, 160, 50, ['detached', 'a constant'], 'white')
    drawing.box(460, 140, 160, 50, ['connector', 'makes shapes agree'], STUDENT)
    drawing.line([(620, 45), (700, 45), (700, 77)])
    drawing.line([(620, 165), (700, 165), (700, 133)])
    drawing.box(655, 80, 90, 50, ['loss'], LOSS)
    drawing.line([(745, 105), (787, 105)])
    drawing.text(792, 105, 'log', 14, 'start')
    return drawing


def memory() -> Drawing:
    """Peaks of memory, as measured: a bar for float32 and in it one for bfloat16."""
    measured = json.loads((BENCHMARKS / 'memory_r56_r20.json').read_text(encoding='utf-8'))
    ratios = {row['training']: row['live / scratch'] for row in measured['rows']}
    names = [name for name in ratios if f'{name}, bf16' in ratios]
    drawing = Drawing(
        760, 76 + 26 * len(names), 'Peak of memory of a step, relative to training from scratch'
    )
    drawing.text(20, 18, 'Peak of live tensors, ResNet-56 to -20; from scratch = 1', 14, 'start')
    for i, name in enumerate(names):
        y, ratio, half = 40 + 26 * i, ratios[name], ratios[f'{name}, bf16']
        drawing.text(230, y + 9, name, 13, 'end')
        color = STUDENT if 'local' in name else TEACHER
        drawing.box(240, y, f'{250 * ratio:.1f}', 18, [], color, 2)
        drawing.box(240, y + 6, f'{250 * half:.1f}', 6, [], INK, 2)
        numbers = f'{ratio:.2f}, in bf16 {half:.2f}'
        drawing.text(f'{248 + 250 * ratio:.1f}', y + 9, numbers, 13, 'start')
    drawing.text(20, 58 + 26 * len(names), 'Dark: bf16 mixed precision.', 13, 'start')
    return drawing


DRAWINGS = {'step.svg': step, 'places.svg': places, 'memory.svg': memory}


def main() -> None:
    """Draws all."""
    for name, draw in DRAWINGS.items():
        (FIGURES / name).write_text(str(draw()), encoding='utf-8')


if __name__ == '__main__':
    main()
