"""A config is laid out once, as upstream lays it out."""

import mmengine.config.config as upstream
from mmengine.config import Config

from lakd_mm.compat.mmengine_config import lay_out_once


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
