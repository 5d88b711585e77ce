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
exclude_patterns = ['_build', '_generated', 'results/*/robustness.md']

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # Docstrings give the types.
autodoc_default_options = {'show-inheritance': False}
napoleon_google_docstring = True
napoleon_use_rtype = False

# Names of other projects, whose pages cannot be looked up without a network, and Python's own.
nitpicky = True
nitpick_ignore_regex = [
    ('py:class', r'.*'),
    ('py:.*', r'(torch|mmengine|mmpretrain|mmrazor|mmcv)\..*'),
]

# Pages and tables that are made from the configs, the code and the requirements.
generated.write()


def find_short_name(app, env, node, content):
    """Resolve a name that a docstring gives without its module, as :class:`LAKD`."""
    if node.get('refdomain') != 'py':
        return None
    domain, name = env.get_domain('py'), node['reftarget'].rpartition('.')[2]
    found = sorted(full for full in domain.objects if full.rpartition('.')[2] == name)
    if not found:
        return None
    place = (node['refdoc'], app.builder, node['reftype'])
    return domain.resolve_xref(env, *place, found[0], node, content)


def setup(app):
    """Connect what this file adds to Sphinx."""
    app.connect('missing-reference', find_short_name)
