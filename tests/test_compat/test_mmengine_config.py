"""A config is laid out once, as upstream lays it out."""

import mmengine.config.config as upstream
from mmengine.config import Config

from lakd_mm.compat.mmengine_config import apply, lay_out_once


def test_a_config_is_laid_out_once(monkeypatch):
    calls, format_once = [], upstream.FormatCode.__wrapped__

    def format_code(text, style_config, **options):
        calls.append(text)
        return format_once(text, style_config=style_config, **options)

    cfg = Config(dict(model=dict(type='a', values=list(range(40)))))
    monkeypatch.setattr(upstream, 'FormatCode', format_code)
    expected = cfg.pretty_text
    monkeypatch.setattr(upstream, 'FormatCode', lay_out_once(format_code))
    assert [cfg.pretty_text, cfg.pretty_text] == [expected, expected]
    assert len(calls) == 2 and len(expected.splitlines()) > 1
    cfg.model.type = 'b'
    assert cfg.pretty_text == expected.replace("type='a'", "type='b'") and len(calls) == 3


def test_onedls_reads_configs_too(monkeypatch):
    """It has no such name in its module."""
    monkeypatch.delattr(upstream, 'FormatCode')
    monkeypatch.setattr(Config, '_file2dict', staticmethod(Config._file2dict.__wrapped__))
    monkeypatch.setattr(Config, '_get_cfg_path', staticmethod(Config._get_cfg_path.__wrapped__))
    apply()
    assert hasattr(Config._file2dict, '__wrapped__') and not hasattr(upstream, 'FormatCode')
