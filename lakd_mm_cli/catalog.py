"""What configs there are: read from the names of the files, their bases and their metafiles."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import yaml

# Words between the networks and the data of a config's name.
RECIPE = re.compile(r'\d+e|\d+x|\d+k|step|inherit')
# Trained without a teacher; every other folder is a method.
TEACHERS = 'teachers'


def files_folder(name: str) -> Path:
    """Return the folder of 'configs' or 'tools', in a checkout or in an installed package.

    Raises:
        FileNotFoundError: If it is in neither.
    """
    root = Path(__file__).resolve().parents[1]
    known = {'configs': 'lakd/metafile.yml', 'tools': 'train.py'}[name]
    for folder in (root / 'lakd_mm' / '.mim' / name, root / name):
        if (folder / known).is_file():
            return folder
    raise FileNotFoundError(f'no {name} beside {root}/lakd_mm; install lakd_mm again')


@dataclass(frozen=True)
class Entry:
    """One config."""

    path: str  # Below configs/.
    method: str  # Its folder.
    teacher: str  # Short name, as r56; empty where there is none.
    student: str
    data: str
    recipe: str  # Epochs or iterations, and how the learning rate falls.
    parameters: Optional[int]  # Of the student, as far as its metafile says.

    @property
    def pair(self) -> str:
        """Teacher and student, as in the name of the file."""
        return f'{self.teacher}_{self.student}' if self.teacher else ''


@dataclass(frozen=True)
class Method:
    """One folder of configs."""

    name: str
    title: str
    paper: str
    url: str


def _base_text(path: Path) -> tuple[str, list[Path]]:
    """Return the text of a config, and the files of its folder that it inherits from."""
    text = path.read_text(encoding='utf-8')
    head = re.match(r"(?:#.*\n)*_base_ = (\[.*?\]|'[^']*')", text, re.DOTALL)
    names = re.findall(r"'([^':]+\.py)'", head.group(1)) if head else []
    return text, [(path.parent / name).resolve() for name in names]


def _recipe(path: Path) -> str:
    """Return the schedule that a config inherits, with its own number of epochs."""
    text, bases = _base_text(path)
    for base in bases:
        if base.parent.name == 'schedules':
            name = base.stem.partition('_')[2]
            own = re.search(r'max_epochs=(\d+)', text)
            return re.sub(r'\d+e', f'{own.group(1)}e', name) if own else name
    return _recipe(bases[0]) if bases and '_base_' not in bases[0].parts else ''


def _words(stem: str) -> tuple[list[str], list[str], str]:
    """Split a config's name into its first words, the words of its recipe and its data."""
    *words, data = stem.split('_')
    recipe = []
    while words and RECIPE.fullmatch(words[-1]):
        recipe.insert(0, words.pop())
    joined: list[str] = []
    for word in words:
        # wrn_40_2 is written wrn40_2.
        if word.isdigit() and joined:
            joined[-1] += f'_{word}'
        else:
            joined.append(word)
    return joined, recipe, data


def _entry(path: Path, folder: Path, parameters: dict) -> Entry:
    """Read one config."""
    named = path
    while named.parent.name == 'ablations':
        # Its name says what it changes; the rest is that of its base.
        named = _base_text(named)[1][0]
    words, recipe, data = _words(named.stem)
    method = path.relative_to(folder).parts[0]
    if method == TEACHERS:
        teacher, student = '', '_'.join(words)
    else:
        networks = [word for word in words[-2:] if re.search(r'\d', word)]
        teacher, student = networks if len(networks) == 2 else ('', networks[-1])
    return Entry(
        path.relative_to(folder).as_posix(),
        method,
        teacher,
        student,
        data,
        _recipe(path) or '_'.join(recipe),
        parameters.get(path.stem),
    )


def _metafile(folder: Path) -> dict:
    path = folder / 'metafile.yml'
    return yaml.safe_load(path.read_text(encoding='utf-8')) if path.is_file() else {}


def read_configs(folder: Optional[Path] = None) -> list[Entry]:
    """Return every config, in the order of their paths.

    Args:
        folder (Path, optional): The folder of configs. Defaults to that of the package.
    """
    folder = folder or files_folder('configs')
    entries = []
    for part in sorted(p for p in folder.iterdir() if p.is_dir() and p.name != '_base_'):
        models = _metafile(part).get('Models', [])
        parameters = {m['Name']: m['Metadata'].get('Parameters') for m in models}
        entries += [_entry(path, folder, parameters) for path in sorted(part.rglob('*.py'))]
    return entries


def read_methods(folder: Optional[Path] = None) -> list[Method]:
    """Return every method, in the order of their folders; training without a teacher is one."""
    folder = folder or files_folder('configs')
    methods = []
    for part in sorted(p for p in folder.iterdir() if p.is_dir() and p.name != '_base_'):
        collections = _metafile(part).get('Collections')
        if part.name == TEACHERS:
            methods.append(Method(TEACHERS, 'from scratch', '', ''))
        elif collections:
            paper = collections[0].get('Paper', {})
            title, url = paper.get('Title', ''), paper.get('URL', '')
            methods.append(Method(part.name, collections[0]['Name'], title, url))
    return methods


def choose(
    entries: Iterable[Entry],
    data: Optional[str] = None,
    method: Optional[str] = None,
    pair: Optional[str] = None,
) -> list[Entry]:
    """Return the configs of these data, of this method and of this pair."""
    wanted = dict(data=data, method=method, pair=pair)
    wanted = {key: value for key, value in wanted.items() if value}
    return [e for e in entries if all(getattr(e, key) == value for key, value in wanted.items())]


def in_order(values: Iterable[str]) -> str:
    """Join what differs, in the order of its first appearance."""
    return ' '.join(dict.fromkeys(values))


def method_rows(entries: Sequence[Entry], methods: Sequence[Method]) -> list[dict]:
    """Return a row for each method that has some of these configs."""
    rows = []
    for method in methods:
        own = [entry for entry in entries if entry.method == method.name]
        if own:
            data = in_order(sorted(entry.data for entry in own))
            rows.append(
                {
                    'method': method.name,
                    'title': method.title,
                    'configs': len(own),
                    'data': data,
                    'paper': method.url,
                }
            )
    return rows


def pair_rows(entries: Sequence[Entry]) -> list[dict]:
    """Return a row for each pair and data that these configs have."""
    groups: dict[tuple, list[Entry]] = {}
    for entry in entries:
        if entry.teacher:
            key = (entry.data, entry.teacher, entry.student)
            groups.setdefault(key, []).append(entry)
    return [
        {
            'pair': own[0].pair,
            'teacher': teacher,
            'student': student,
            'data': data,
            'methods': in_order(entry.method for entry in own),
        }
        for (data, teacher, student), own in sorted(groups.items())
    ]


def config_rows(entries: Sequence[Entry]) -> list[dict]:
    """Return a row for each config."""
    return [
        {
            'config': entry.path,
            'pair': entry.pair or entry.student,
            'data': entry.data,
            'recipe': entry.recipe,
            'parameters': '' if entry.parameters is None else f'{entry.parameters:,}',
        }
        for entry in entries
    ]
