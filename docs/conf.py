"""How Sphinx builds the site: ``make docs``."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import generated  # noqa: E402

from lakd_mm.version import __version__  # noqa: E402

project = 'lakd_mm'
copyright = 'the lakd_mm contributors'
version = release = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.mathjax',
    'sphinx.ext.napoleon',
]
myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 3
html_theme = 'furo'
html_title = f'lakd_mm {version}'
html_static_path = ['_static']
exclude_patterns = ['_build', '_generated', 'results/*/robustness.md']

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # Docstrings give the types.
autodoc_default_options = {'show-inheritance': False}
napoleon_google_docstring = True
napoleon_use_rtype = False

# Pages and tables that are made from the configs, the code and the requirements.
generated.write()
