"""What every loss must hold to, checked on a loss of ours or of yours: `lossbench check LOSS`."""

from lossbench.conformance.examination import check, examine
from lossbench.conformance.request import subjects
from lossbench.conformance.result import Mark, Result
from lossbench.conformance.subject import Subject

__all__ = ["Mark", "Result", "Subject", "check", "examine", "subjects"]
