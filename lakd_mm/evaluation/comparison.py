"""Options and loading, for tools that compare networks on test images."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel

from ..engine.command_line import OptionsAction
from ..engine.config_checks import check_data_folders, check_options
from ..engine.networks import load_network, read_config
from ..errors import ConfigError
from .sample_images import check_normalization, test_split


def add_teacher_and_students(parser: ArgumentParser, required: bool) -> None:
    """Add the options that :func:`load_teacher_and_students` takes."""
    parser.add_argument('config', help="the teacher's config, or one of a distillation with it")
    parser.add_argument('checkpoint', help="the teacher's checkpoint, a path or URL")
    parser.add_argument(
        '--student',
        nargs=3,
        action='append',
        default=[],
        required=required,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a student, distilled or trained alone; may be repeated',
    )


def add_runs(parser: ArgumentParser, what: str):
    """Add the option that names the work folders of trainings; ``what`` describes one in help."""
    parser.add_argument(
        '--run',
        nargs=2,
        action='append',
        required=True,
        metavar=('NAME', 'WORK_DIR'),
        help=f'{what}: the work folder of a training; may be repeated',
    )


def add_test_images(parser: ArgumentParser, config: str = "the teacher's config") -> None:
    """Add the options that choose test images from those of ``config``."""
    parser.add_argument('--seed', type=int, default=0, help='for drawing the images (default: 0)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help=f'change {config}, whose test images are used',
    )


def add_picture(parser: ArgumentParser, out: str, along: str = '') -> None:
    """Add the options of the picture that a tool draws; ``out`` is its default path."""
    words = f'picture{along} (default: {out})'
    parser.add_argument('--out', type=Path, default=Path(out), help=words)
    words = 'more backends for it, such as TensorboardVisBackend'
    parser.add_argument('--vis-backends', nargs='+', default=[], help=words)


def check_names(option: str, names: Sequence[str]) -> None:
    """Raise a ConfigError if an option got the same name twice."""
    if len(set(names)) < len(names):
        raise ConfigError(f'{option}: the names {", ".join(names)} must differ')


def read_test_config(config: str, options: dict) -> Config:
    """Read the config with the test images, changed by ``--cfg-options``.

    Raises:
        ConfigError: If the file does not exist, an option does not fit, or the images are absent.
    """
    cfg = read_config(config)
    check_options(cfg, options)
    cfg.merge_from_dict(options)
    check_data_folders(cfg, splits=[test_split(cfg)])
    return cfg


def load_others(models: Sequence[Sequence[str]], preprocessor, cfg: Config) -> dict[str, BaseModel]:
    """Load networks by name, in eval mode on the device, to run on the test images of ``cfg``.

    Args:
        models (Sequence): Name, config and checkpoint of each; a distillation gives its student.
        preprocessor (nn.Module): That of ``cfg``; it must normalise like those of the networks.
        cfg (Config): The config of the images; its default scope is set again.

    Raises:
        ConfigError: If configs, checkpoints or data do not fit.
    """
    networks = {}
    for name, config, checkpoint in models:
        networks[name] = load_network(config, checkpoint)[0].to(get_device())
        check_normalization(preprocessor, networks[name].data_preprocessor, name)
    read_config(cfg)
    return networks


def load_teacher_and_students(args: Namespace) -> tuple[Config, BaseModel, dict[str, BaseModel]]:
    """Load the networks that the options of :func:`add_teacher_and_students` name.

    Returns:
        tuple: The config with the test images, the teacher, and the students by name; in eval mode,
        on the device.

    Raises:
        ConfigError: If configs, checkpoints or data do not fit.
    """
    cfg = read_test_config(args.config, args.cfg_options)
    part = 'teacher' if 'teacher' in cfg.model else 'student'
    teacher = load_network(cfg, args.checkpoint, part)[0].to(get_device())
    return cfg, teacher, load_others(args.student, teacher.data_preprocessor, cfg)
