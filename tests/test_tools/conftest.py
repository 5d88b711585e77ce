import importlib.util
import sys

import pytest


@pytest.fixture
def tool(root, tmp_path, monkeypatch):
    """Run a tool in this process; what it ends with, or None."""

    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        (path,) = root.glob(f'tools/**/{name}.py')
        spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            module.main()
        except SystemExit as end:
            return str(end)
        return None

    return run
