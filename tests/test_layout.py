"""Imports inside the package point one way, none in a circle, and files stay short."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import lakd_mm

ROOT = Path(lakd_mm.__file__).parent
# A part imports from those above it and from its own row, never from below.
LEVELS = [
    {'version', 'errors'},
    {'compat'},
    {'models.nested', 'models.data_preprocessor'},
    {'models.losses', 'models.backbones', 'models.places'},
    {
        'models.classifiers',
        'models.connectors',
        'models.students',
        'models.teachers',
        'models.distillers',
    },
    {'models.algorithms'},
    {'models'},
    {'datasets', 'engine'},
    {'evaluation', 'visualization'},
    {''},
]


def modules():
    """Every module of the package by its name inside it, and its source."""
    for path in sorted(ROOT.rglob('*.py')):
        name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        yield name.removesuffix('__init__').rstrip('.'), path


def imported(name, path):
    """Names inside the package of what a module imports, wherever in it."""
    package = name.split('.') if path.name == '__init__.py' else name.split('.')[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name[8:] for a in node.names if a.name.startswith('lakd_mm.'))
        elif isinstance(node, ast.ImportFrom):
            assert not (node.level == 0 and (node.module or '').startswith('lakd_mm')), path
            if node.level:
                base = package[: len(package) - node.level + 1]
                base += node.module.split('.') if node.module else []
                for alias in node.names:
                    inner = '.'.join([*base, alias.name])
                    yield inner if inner in NAMES else '.'.join(base)


NAMES = {name for name, _ in modules()}
GRAPH = {name: set(imported(name, path)) - {name} for name, path in modules()}


def level(name):
    part = max((p for row in LEVELS for p in row if f'{name}.'.startswith(f'{p}.')), default='')
    return next(i for i, row in enumerate(LEVELS) if part in row)


def test_imports_point_one_way():
    back = [(a, b) for a, found in GRAPH.items() for b in found if level(b) > level(a)]
    assert back == []


def test_no_imports_in_a_circle():
    # A module inside a package needs that package's __init__ only to be found.
    graph = {a: {b for b in found if not f'{a}.'.startswith(f'{b}.')} for a, found in GRAPH.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(GRAPH)


def test_files_are_short():
    long = {n: lines for n, p in modules() if (lines := len(p.read_text().splitlines())) > 300}
    assert {name for name in long if not name.startswith('reproduction')} == set()
