"""Runs of one pair, recipe and data set that train as one cohort, and are runs as any other."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from mmengine.config import Config

from lakd_mm.engine import cohort_config, metric_watcher

from .runs import Run, write_text
from .targets import digest


@dataclass
class CohortRun(Run):
    """One process that trains several runs, each of which ends as if it had been run alone."""

    members: list[Run] = field(default_factory=list)

    def records(self) -> list[dict]:
        """Return what all members have recorded, without what is a member's own."""
        shortest = min((member.records() for member in self.members), key=len)
        return [dict(record, metrics={}) for record in shortest]

    def result(self) -> Optional[dict]:
        """Return the result of the last member, if all have one."""
        results = [member.result() for member in self.members]
        return results[-1] if all(results) else None

    @property
    def again(self) -> bool:
        """Whether it may be begun anew: not where a member diverged and others are done."""
        return not any(member.result() for member in self.members)

    def finish(self) -> Optional[dict]:
        """Write the members' results; return the last one if all are there."""
        results = [member.result() or member.finish() for member in self.members]
        return results[-1] if all(results) else None

    def prepare(self) -> list[str]:
        """Begin or go on with all members; return the command."""
        ids = [member.id for member in self.members]
        for member in self.members:
            others = [one for one in ids if one != member.id]
            # The images come in one order for all.
            order = self.members[0].seed
            member.facts = dict(member.facts, cohort=dict(others=others, seed_of_data=order))
            member.begin()
        write_text(self.plan, self._config().pretty_text)
        config, folder = str(self.plan), str(self.folder)
        command = [sys.executable, str(self.tools / 'train.py'), config, '--work-dir', folder]
        return [*command, *self._resume()]

    def go_back(self, epoch: int) -> None:
        """Remove what came after an epoch, of the members too."""
        super().go_back(epoch)
        for member in self.members:
            member.go_back(epoch)

    def _config(self) -> Config:
        configs, folders = {}, {}
        for member in self.members:
            name = re.sub(r'\W', '_', f'{member.cell.name}_seed{member.seed}')
            configs[name] = member.config()
            folders[name] = str(member.folder)
        cfg = cohort_config(configs, str(self.folder))
        cfg.custom_hooks[-1].folders = folders
        # Behind the hook that saves the members.
        record = dict(cfg.default_hooks.pop('epoch_record'), members=folders)
        cfg.custom_hooks = [*cfg.custom_hooks, record]
        return cfg


def form_cohorts(runs: Sequence[Run]) -> list[Run]:
    """Put runs that are not done together where they share pair, budget and data.

    A run that was begun goes on with exactly those with which it was begun, else alone; so does one
    that needs a teacher's pass of its own or metrics that run the networks themselves, and one that
    stops early.

    Raises:
        ConfigError: If runs of one pair cannot share data, length, hooks or teacher.
    """
    groups: dict[object, list[Run]] = {}
    for run in runs:
        begun = run.begun.get('facts', {}).get('cohort') if run.records() else None
        if begun:
            run.facts = dict(run.facts, cohort=begun)
        alone = run.cell.kind != 'train' or run.result() is not None or run.cell.measured
        alone = alone or run.cfg.model.get('teacher_twice') or metric_watcher(run.cfg)
        together = sorted([run.id, *begun['others']]) if begun else None
        if alone or (run.records() and not begun):
            groups[run.id] = [run]
        else:
            key = (run.cell.dataset, run.cell.column, run.budget, str(together))
            groups.setdefault(key, []).append(run)
    found: list[Run] = []
    for members in groups.values():
        # The first one's seed orders the images.
        members.sort(key=lambda member: (member.seed, member.id))
        ids = [member.id for member in members]
        others = members[0].facts.get('cohort', {}).get('others', ids[1:])
        if len(members) == 1 or set(others) != set(ids[1:]):
            found.extend(members)
            continue
        fields = {one: getattr(members[0], one) for one in Run.__dataclass_fields__}
        name = f'cohorts/{members[0].cell.dataset}-{digest(sorted(ids))[:8]}'
        cohort = CohortRun(**dict(fields, id=name), members=members)
        cohort._config()
        found.append(cohort)
    return found
