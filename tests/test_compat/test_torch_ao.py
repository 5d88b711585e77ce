import torch
from torch import nn
from torch.ao.quantization import fuser_method_mappings
from torch.ao.quantization.backend_config import BackendPatternConfig

from lakd_mm.compat import torch_ao

PARTS = ('models', 'engine', 'structures', 'implementations', 'datasets', 'visualization')


def test_mmrazor_imports_in_silence(import_and_run):
    printed = import_and_run(f"""
        import lakd_mm
        import importlib
        for part in {PARTS}:
            importlib.import_module(f'mmrazor.{{part}}')
        from mmrazor.structures.quantization.backend_config import BackendConfigs
        print(sorted(BackendConfigs))
    """)
    # The list is all: no warning either.
    assert printed == "['academic', 'native', 'openvino', 'tensorrt']\n"


def test_fuser_helpers_take_modules_last_first():
    def fuse(is_qat, *modules):
        return is_qat, *modules

    assert fuser_method_mappings.reverse2(fuse)(True, 'bn', 'conv') == (True, 'conv', 'bn')
    reversed3 = fuser_method_mappings.reverse3(fuse)
    assert reversed3(False, 'relu', ('bn', 'conv')) == (False, 'conv', 'bn', 'relu')

    wrapped = fuser_method_mappings.reverse_sequential_wrapper2(nn.Sequential)
    linear, relu = nn.Linear(2, 2), nn.ReLU()
    assert list(wrapped(False, relu, linear)) == [linear, relu]


def test_setters_store_and_chain():
    config = BackendPatternConfig(torch.nn.Linear)
    for name, attribute in torch_ao.LOST_SETTERS.items():
        assert getattr(config, name)('value') is config
        assert getattr(config, attribute) == 'value'


def test_healthy_torch_is_left_alone(monkeypatch):
    def healthy():
        """What a torch that still had the name would hold."""

    monkeypatch.setattr(fuser_method_mappings, 'reverse2', healthy)
    monkeypatch.setattr(BackendPatternConfig, '_set_input_output_observed', healthy)
    torch_ao.apply()
    assert fuser_method_mappings.reverse2 is healthy
    assert BackendPatternConfig._set_input_output_observed is healthy
