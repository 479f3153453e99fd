"""`hydra/sweeper=optuna`; what it does is in lossbench/search.py.

Hydra's own plugin for Optuna has a sweeper of this name, too. It needs an Optuna before 3, makes one study of all
losses, and checks nothing beforehand.
"""

# No `from __future__ import annotations`: see lossbench_stacked.py.

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class OptunaConf:
    """Settings, `hydra.sweeper.…`."""

    _target_: str = "hydra_plugins.lossbench_optuna.OptunaSweeper"  # a name: lossbench.config calls what searches
    n_trials: int = 20  # of each study, which is a combination of what is listed with commas
    n_jobs: int = 1  # of them at once; what is asked next knows what came of all before
    metric: str = "nll"  # on the validation split, through the loss's own link
    sampler: str = "tpe"  # or random
    seed: int = 0  # of the sampler
    params: dict[str, Any] | None = None  # overrides, as of Hydra's basic sweeper


def store() -> None:
    """Make it known to Hydra, in place of what its own plugin stored if that is installed as well."""
    ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=OptunaConf, provider="lossbench")
