"""Several students that learn side by side from one pass of one teacher."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Optional, Union

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.structures import BaseDataElement
from mmrazor.models.task_modules import RecorderManager
from mmrazor.registry import MODELS

from ...errors import ConfigError
from ..data_preprocessor import with_default_type
from ..places.probe import images_for
from ..teachers import LeanTeacher, build_teacher, keep_teacher_out, load_teacher
from .distill import Distill
from .memory_format import keep_contiguous

# Iterations between two looks at the losses on a GPU, each of which waits for it.
_CHECK_INTERVAL = 50
# From an optimizer wrapper to a context for a member's losses, which gives a function to call with
# the last of them before it is back-propagated.
Averaging = Callable[[OptimWrapper], AbstractContextManager[Callable[[torch.Tensor], None]]]


@contextmanager
def _no_averaging(optim_wrapper: OptimWrapper) -> Iterator[Callable[[torch.Tensor], None]]:
    yield lambda loss: None


@MODELS.register_module()
class Cohort(BaseModel):
    """Students of one teacher that share the batches and the teacher's pass, and nothing else.

    Each member equals, to the bit, the same training alone on the same batches (float32, CPU). Its
    losses are logged under its name, its optimizer is the one of that name
    (:class:`CohortOptimWrapperConstructor`), its metrics are those of :class:`CohortEvaluator`, and
    :class:`CohortCheckpointHook` saves it as a training alone would. A member whose loss is not
    finite is stopped and named; the others go on.

    Args:
        members (Dict[str, dict]): By name: the config of a :class:`Distill` or :class:`LAKD`
            without ``teacher`` and ``teacher_ckpt``, or of a classifier that learns from scratch.
            A member's ``seed`` seeds its initialisation; without one it starts as it would alone.
        teacher (dict | BaseModel, optional): The teacher. Defaults to None, for members that all
            learn from scratch.
        teacher_ckpt (str, optional): Its checkpoint, a path or URL; has to fit exactly.
        save_teacher (bool): Whether checkpoints hold the teacher's weights too. Defaults to True.
        data_preprocessor (dict | nn.Module, optional): Of all members.

    Raises:
        ConfigError: If there is no member, a name is no name, or a member needs a teacher run of
            its own.
    """

    def __init__(
        self,
        members: Mapping[str, dict],
        teacher: Optional[Union[dict, BaseModel]] = None,
        teacher_ckpt: Optional[str] = None,
        save_teacher: bool = True,
        data_preprocessor: Optional[Union[dict, torch.nn.Module]] = None,
    ):
        _check_names(members)
        super().__init__(with_default_type(data_preprocessor))
        # Each member starts from the random state that it would find alone, and then builds a
        # teacher, the same one for all.
        start = torch.random.get_rng_state()
        shared = teacher if teacher is None else build_teacher(teacher)
        if teacher_ckpt is not None:
            load_teacher(shared, teacher_ckpt)

        def build_again() -> BaseModel:
            if teacher is not shared:
                build_teacher(teacher)
            return shared

        self._random_states = {}
        self.members = torch.nn.ModuleDict()
        for name, member in members.items():
            member = dict(member)
            seed = member.pop('seed', None)
            torch.random.set_rng_state(start)
            if seed is not None:
                torch.manual_seed(seed)
            if shared is not None and 'architecture' in member:
                member['teacher'] = dict(type=build_again)
            self.members[name] = MODELS.build(member)
            # Our preprocessor makes channels-last images, also for plain classifiers.
            keep_contiguous(self.members[name])
            self._random_states[name] = torch.random.get_rng_state()
        self.teacher = shared
        self._run_teacher = self._share_teacher()
        self._stopped: set[str] = set()
        self._steps = 0
        if not save_teacher:
            keep_teacher_out(self)

    def _share_teacher(self) -> Optional[LeanTeacher]:
        """Make one teacher that fills the recorders of all members."""
        students = {n: m for n, m in self.members.items() if isinstance(m, Distill)}
        if not students:
            return None
        union = RecorderManager()
        for name, member in students.items():
            kept = not isinstance(member.run_teacher, LeanTeacher)
            if kept or member.teacher_twice or member.distiller.deliveries.deliveries:
                raise ConfigError(
                    f'members.{name}: teacher_twice, keep_teacher and deliveries need a run of the '
                    f'teacher for this student alone; train it alone'
                )
            recorders = member.distiller.teacher_recorders.recorders
            union.recorders.update({f'{name}.{key}': r for key, r in recorders.items()})
        one = next(iter(students.values()))
        lean = LeanTeacher(
            self.teacher.eval(),
            union,
            images_for(self.teacher, one.input_shape),
            channels_last=one.run_teacher.channels_last,
            stop_early=one.run_teacher.stop_early,
        )
        for member in students.values():
            member.run_teacher = _has_run
        return lean

    def init_weights(self):
        """Initialize each member as it would be alone."""
        for name, member in self.members.items():
            torch.random.set_rng_state(self._random_states[name])
            member.init_weights()

    def train(self, mode: bool = True) -> 'Cohort':
        """Set the mode of all but the teacher."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def train_step(
        self,
        data: Union[dict, tuple, list],
        optim_wrapper: OptimWrapperDict,
        averaging: Averaging = _no_averaging,
    ) -> dict[str, torch.Tensor]:
        """Run the teacher once, then a step of each member.

        Args:
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapperDict): A wrapper for each member, by its name.
            averaging (Averaging): Averages a member's gradients over processes.

        Returns:
            Dict[str, Tensor]: What each member logs, with its name in front.
        """
        data = self.data_preprocessor(data, True)
        running = [name for name in self.members if name not in self._stopped]
        if not running:
            raise ConfigError(
                'no member of the cohort is left: their losses are not finite, or all are stopped'
            )
        learners = [name for name in running if isinstance(self.members[name], Distill)]
        if learners:
            with optim_wrapper[learners[0]].optim_context(self):
                self._run_teacher(data['inputs'])
        logs = {}
        self._steps += 1
        for name in running:
            member, wrapper = self.members[name], optim_wrapper[name]
            with averaging(wrapper) as before_last_backward:
                with wrapper.optim_context(member):
                    losses = self._losses(member, data, wrapper)
                total, log_vars = member.parse_losses(losses)
                if self._diverges(total):
                    self._stop_diverged(name, log_vars)
                    continue
                before_last_backward(total)
                wrapper.update_params(total)
            logs.update({f'{name}.{key}': value for key, value in log_vars.items()})
        logs['loss'] = sum(value for key, value in logs.items() if key.endswith('.loss'))
        return logs

    def _losses(self, member: BaseModel, data: dict, wrapper: OptimWrapper) -> dict:
        if isinstance(member, Distill):
            return member.prepared_losses(data, wrapper)
        return member._run_forward(data, mode='loss')

    def _diverges(self, total: torch.Tensor) -> bool:
        """Tell whether a loss is not finite, in any process; on a GPU looked at now and then."""
        if total.is_cuda and self._steps % _CHECK_INTERVAL:
            return False
        finite = torch.isfinite(total.detach()).float()
        all_reduce(finite, 'min')
        return not finite.item()

    def stop(self, name: str):
        """Leave a member out of training from now on; the others go on as if it were there.

        Raises:
            ConfigError: If there is no such member.
        """
        if name not in self.members:
            raise ConfigError(f'stop: no member {name!r}; there are: {", ".join(self.members)}')
        self._stopped.add(name)
        if isinstance(self.members[name], Distill):
            self.members[name].distiller.drop_records()

    def _stop_diverged(self, name: str, log_vars: Mapping[str, torch.Tensor]):
        """Stop a member, and say why."""
        self.stop(name)
        shown = ', '.join(f'{key} {value.item():.4g}' for key, value in log_vars.items())
        print_log(
            f'The losses of member {name!r} are not finite ({shown}): it is stopped, the '
            f'others go on. Try a lower learning rate or loss weight.',
            logger='current',
            level=logging.ERROR,
        )

    @property
    def stopped(self) -> tuple[str, ...]:
        """Names of the members that have been stopped."""
        return tuple(sorted(self._stopped))

    def forward(
        self, inputs: torch.Tensor, data_samples: Optional[list] = None, mode: str = 'tensor'
    ) -> Any:
        """Predict with all members.

        Args:
            inputs (torch.Tensor): Shape (N, C, H, W).
            data_samples (List[DataSample], optional): With the labels.
            mode (str): 'predict' or 'tensor'; losses are :meth:`train_step`'s. Defaults to
                'tensor'.

        Returns:
            List[BaseDataElement] | Dict[str, Tensor]: For 'predict', for each image an element with
            the prediction of each member under its name; else what each member gives, by name.
        """
        if mode == 'loss':
            raise ConfigError(
                'a Cohort has no loss of its own: train it with an OptimWrapperDict '
                '(CohortOptimWrapperConstructor)'
            )
        found = {}
        for name, member in self.members.items():
            samples = None if data_samples is None else [sample.new() for sample in data_samples]
            found[name] = member(inputs, samples, mode=mode)
        return found if mode == 'tensor' else _by_image(found)


def _by_image(predictions: Mapping[str, Sequence]) -> list[BaseDataElement]:
    """Turn lists of predictions by member into a list of elements, one for each image."""
    images = []
    for of_image in zip(*predictions.values()):
        element = BaseDataElement()
        for name, prediction in zip(predictions, of_image):
            element.set_field(prediction, name)
        images.append(element)
    return images


def _check_names(members: Mapping[str, dict]):
    if not isinstance(members, Mapping) or not members:
        raise ConfigError(f'members={members!r}: give a dict of at least one student, by name')
    for name in members:
        if not re.fullmatch(r'[A-Za-z]\w*', name):
            raise ConfigError(f'members: {name!r} is no name; use letters, digits and _')


def _has_run(*args):
    """Stand in for the teacher of a member, whose records are there already."""
