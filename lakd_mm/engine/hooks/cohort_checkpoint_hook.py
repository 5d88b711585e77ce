"""Checkpoints of a cohort's members, as trainings alone would leave them."""

import os
import os.path as osp
import re
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Optional

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner, save_checkpoint
from mmrazor.registry import HOOKS


@HOOKS.register_module()
class CohortCheckpointHook(Hook):
    """Writes a folder for each member of a :class:`Cohort`, beside the cohort's own checkpoints.

    It holds ``config.py``, the member's config, and whenever the cohort is saved the member's
    checkpoint under the same file name, with its weights, moving averages, optimizer, schedulers
    and log. Tools test, export and resume it as if it had been trained alone. With ``save_best``
    the best one by that metric is kept as ``best_METRIC_epoch_N.pth`` too. Of a checkpoint in the
    middle of an epoch (``interrupted.pth``) members get none: its position is the cohort's, which
    resumes from it; a member alone goes on from its last whole epoch.

    Args:
        configs (Dict[str, dict]): The config of each member, by its name.
        save_best (str, optional): A metric of which higher is better. Defaults to that of the
            members' own ``CheckpointHook``, 'auto' being 'accuracy/top1'.
        folders (Dict[str, str], optional): The folder of each member. Defaults to one of its name
            in the cohort's work folder.
    """

    priority = 'LOWEST'

    def __init__(
        self,
        configs: Mapping[str, dict],
        save_best: Optional[str] = None,
        folders: Optional[Mapping[str, str]] = None,
    ):
        self.configs = {name: Config(dict(cfg)) for name, cfg in configs.items()}
        self.save_best = save_best
        self.folders = folders
        self.saved = tuple(self.configs)  # Members that a checkpoint of the cohort is saved for.
        # By the member: what its own CheckpointHook would note, ``best_score`` and ``best_ckpt``.
        self.best: dict[str, dict] = {}

    def _folder(self, runner: Runner, name: str) -> str:
        return self.folders[name] if self.folders else osp.join(runner.work_dir, name)

    def _wanted(self, name: str) -> dict:
        """Return the settings of a member's own ``CheckpointHook``."""
        return self.configs[name].get('default_hooks', {}).get('checkpoint') or {}

    @master_only
    def before_train(self, runner: Runner):
        """Write the members' configs; move aside checkpoints of an earlier cohort."""
        for name, cfg in self.configs.items():
            folder = self._folder(runner, name)
            os.makedirs(folder, exist_ok=True)
            earlier = [file for file in os.listdir(folder) if file.endswith('.pth')]
            if earlier and runner.iter == 0:
                aside = osp.join(folder, f'previous_{runner.timestamp}')
                os.makedirs(aside)
                for file in earlier:
                    shutil.move(osp.join(folder, file), aside)
                runner.logger.info(f'Checkpoints of an earlier cohort are now in {aside}.')
            cfg.dump(osp.join(folder, 'config.py'))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict):
        """Save what each member has in a checkpoint of the cohort, unless it lies in an epoch."""
        if 'position' in checkpoint['meta']:
            return
        by_epoch = 'by_epoch' not in runner.cfg.train_cfg or runner.cfg.train_cfg.by_epoch
        unit = 'epoch' if by_epoch else 'iter'
        file = f'{unit}_{checkpoint["meta"][unit]}.pth'
        checkpoint['message_hub']['runtime_info']['cohort_best'] = dict(self.best)
        for name in self.saved:
            folder = self._folder(runner, name)
            path = osp.join(folder, file)
            save_checkpoint(self._part(checkpoint, name), path)
            with open(osp.join(folder, 'last_checkpoint'), 'w') as last:
                last.write(path)
            _remove_old(folder, unit, self._wanted(name).get('max_keep_ckpts', -1))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict):
        """Go on with the best values of a resumed cohort."""
        info = checkpoint.get('message_hub', {})
        if isinstance(info, dict):
            best = info.get('runtime_info', {}).get('cohort_best', {})
            # Earlier checkpoints have the score alone.
            self.best = {
                name: one if isinstance(one, dict) else dict(best_score=one)
                for name, one in best.items()
            }

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: Optional[dict[str, float]] = None):
        """Keep a member's weights if they are the best so far."""
        improved, weights = [], None
        for name in self.configs:
            wanted = self.save_best or self._wanted(name).get('save_best')
            wanted = 'accuracy/top1' if wanted == 'auto' else wanted
            value = (metrics or {}).get(f'{name}/{wanted}')
            known = self.best.get(name, {}).get('best_score', float('-inf'))
            if value is None or value <= known:
                continue
            folder = self._folder(runner, name)
            improved.append(name)
            short = f'best_{wanted.replace("/", "_")}_epoch_'
            older = [file for file in os.listdir(folder) if file.startswith(short)]
            file = f'{short}{runner.epoch}.pth'
            self.best[name] = dict(best_score=value, best_ckpt=osp.join(folder, file))
            weights = weights or self._weights(runner)
            save_checkpoint(self._part(weights, name), osp.join(folder, file))
            older = [other for other in older if other != file]
            for file in older:
                os.remove(osp.join(folder, file))

        saver = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if improved and saver is not None and saver.last_ckpt is not None:
            # As CheckpointHook does, so that a resumed training knows what is best. Only rank 0 is
            # here: nothing in it waits for the others.
            self.saved = tuple(improved)
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            step = runner.epoch if saver.by_epoch else runner.iter
            saver._save_checkpoint_with_step(runner, step, meta)
            self.saved = tuple(self.configs)

    def _weights(self, runner: Runner) -> dict:
        """Return what the runner would save beside optimizers, with moving averages in place."""
        model = getattr(runner.model, 'module', runner.model)
        meta = dict(epoch=runner.epoch, iter=runner.iter, seed=runner.seed)
        checkpoint = dict(
            meta=meta, state_dict=model.state_dict(), message_hub=runner.message_hub.state_dict()
        )
        for hook in runner.hooks:
            if hook is not self:
                hook.before_save_checkpoint(runner, checkpoint)
        return checkpoint

    def _part(self, checkpoint: Mapping[str, Any], name: str) -> dict:
        """Pick what a member alone would have saved."""
        cfg = self.configs[name]
        part = dict(meta=dict(checkpoint['meta'], cfg=cfg.pretty_text))
        for key, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
            if key in checkpoint:
                part[key] = _of_member(checkpoint[key], name, prefix)
        for key in ('optimizer', 'param_schedulers'):
            if key in checkpoint:
                part[key] = checkpoint[key][name]
        hub = checkpoint['message_hub']
        info = {**hub['runtime_info'], **self.best.get(name, {})}
        info.pop('cohort_best', None)
        logs = _log_of(hub['log_scalars'], name)
        resumed = OrderedDict.fromkeys((*logs, *info), True)
        part['message_hub'] = dict(log_scalars=logs, runtime_info=info, resumed_keys=resumed)
        return part


def _remove_old(folder: str, unit: str, keep: int):
    """Remove the earliest checkpoints of a member, if only some are kept."""
    numbers = (re.fullmatch(rf'{unit}_(\d+)\.pth', file) for file in os.listdir(folder))
    numbers = sorted(int(found[1]) for found in numbers if found)
    for number in numbers[:-keep] if keep > 0 else ():
        os.remove(osp.join(folder, f'{unit}_{number}.pth'))


def _of_member(state: Mapping[str, Any], name: str, prefix: str) -> dict:
    """Return a member's weights by the names that they have alone."""
    others = re.compile(rf'{re.escape(prefix)}(members|teacher)\.')
    inside = f'{prefix}members.{name}.'
    return {
        prefix + key.removeprefix(inside) if key.startswith(inside) else key: value
        for key, value in state.items()
        if key.startswith(inside) or not others.match(key)
    }


def _log_of(scalars: Mapping[str, Any], name: str) -> dict:
    """Return the log of a member, with its name taken out, and what all have in common."""
    found = {}
    for key, value in scalars.items():
        where, _, rest = key.partition('/')
        if rest.startswith((f'{name}.', f'{name}/')):
            found[f'{where}/{rest[len(name) + 1 :]}'] = value
        elif rest in ('time', 'data_time', 'memory'):
            found[key] = value
    return found
