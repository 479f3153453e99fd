"""From what a user typed to the configuration of each run. Nothing else touches Hydra's internals."""

from lossbench.config.jobs import Job, Plan, Task, import_from_here, returned, workers
from lossbench.config.overrides import given_twice
from lossbench.config.planning import Session, session
from lossbench.config.schema import GROUPS, VALUES, of_run, resolve
from lossbench.identity import Config, identity, learns_new_classes, run_id, teacher_config

__all__ = [
    "GROUPS",
    "VALUES",
    "Config",
    "Job",
    "Plan",
    "Session",
    "Task",
    "given_twice",
    "identity",
    "import_from_here",
    "learns_new_classes",
    "of_run",
    "resolve",
    "returned",
    "run_id",
    "session",
    "teacher_config",
    "workers",
]
