"""The files beside the code agree with it, and with each other."""

import re
from pathlib import Path

import yaml

from lakd_mm.version import __version__

ROOT = Path(__file__).parents[1]


def read(name):
    return (ROOT / name).read_text(encoding='utf-8')


def pins(name):
    lines = read(f'requirements/{name}.txt').splitlines()
    return dict(line.split('==') for line in lines if '==' in line)


def test_the_version_is_that_of_the_changelog_and_the_citation():
    newest = re.search(r'^## \[(\d[\w.]+)\]', read('CHANGELOG.md'), re.M).group(1)
    assert newest == __version__ == yaml.safe_load(read('CITATION.cff'))['version']
    written = [p for p in ('setup.py', 'pyproject.toml', 'Makefile') if __version__ in read(p)]
    assert not written, 'lakd_mm/version.py alone holds it'


def test_the_licence_is_the_one_of_the_package():
    assert 'Apache License\n                           Version 2.0' in read('LICENSE')
    assert "license='Apache-2.0'" in read('setup.py')
    assert yaml.safe_load(read('CITATION.cff'))['license'] == 'Apache-2.0'


def test_the_paper_is_the_one_that_the_method_names():
    cited = yaml.safe_load(read('CITATION.cff'))['preferred-citation']
    paper = yaml.safe_load(read('configs/lakd/metafile.yml'))['Collections'][0]['Paper']
    assert cited['title'] == paper['Title']
    names = [f'{author["given-names"]} {author["family-names"]}' for author in cited['authors']]
    assert f'({", ".join(names)})' in read('configs/lakd/README.md')


def test_the_workflow_runs_what_the_project_runs():
    jobs = yaml.safe_load(read('.github/workflows/ci.yml'))['jobs']
    steps = [step.get('run', '') for job in jobs.values() for step in job['steps']]
    assert {'.ci/run', 'make docs', 'make wheel'} <= set(steps)
    targets = re.findall(r'^([\w-]+):', read('Makefile'), re.M)
    for target in re.findall(r'make ([\w-]+)', ' '.join([*steps, read('CONTRIBUTING.md')])):
        assert target in targets or target == 'help', target
    versions = {
        str(step['with']['python-version'])
        for job in jobs.values()
        for step in job['steps']
        if 'setup-python' in step.get('uses', '')
    }
    declared = set(re.findall(r'Python :: (3\.\d+)', read('setup.py')))
    assert versions and versions <= declared


def test_pre_commit_has_the_ruff_of_the_tests():
    repos = yaml.safe_load(read('.pre-commit-config.yaml'))['repos']
    (ruff,) = (repo for repo in repos if repo['repo'].endswith('ruff-pre-commit'))
    assert ruff['rev'] == f'v{pins("tests")["ruff"]}'
    assert [hook['id'] for hook in ruff['hooks']] == ['ruff-check', 'ruff-format']


def test_issue_templates_ask_for_what_there_is():
    folder = ROOT / '.github/ISSUE_TEMPLATE'
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob('*.yml')}
    assert set(forms) == {'bug', 'config', 'method'}
    labels = [field['attributes']['label'] for field in forms['bug']['body']]
    assert 'What `lakd-mm doctor` prints' in labels
    assert (ROOT / 'configs/lakd/lakd_r32_r14_digits.py').is_file()


def test_security_says_how_checkpoints_load():
    text = read('SECURITY.md')
    for name in re.findall(r'`((?:lakd_mm|tools)/[\w/.]+)`', text):
        assert (ROOT / name).is_file(), name
    loads = [
        path
        for path in (ROOT / 'lakd_mm').rglob('*.py')
        if '.mim' not in path.parts and 'weights_only=False' in path.read_text()
    ]
    assert 'weights_only=True' in text and loads == []
