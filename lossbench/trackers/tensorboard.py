"""TensorBoard: one event file for each run, written record by record.

Not by torch's SummaryWriter, which keeps a thread and an open file for each of a thousand stacked runs.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.errors import StoreError
from lossbench.trackers import Result, Run, check_folder, curve, timed

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


class TensorBoard:
    """Shows runs by `tensorboard --logdir DIRECTORY`."""

    package = "tensorboard"

    def __init__(self, directory: str) -> None:
        """Name the folder; each run has its own in it."""
        self.directory = directory
        self.epochs = 0
        self.path = Path()

    @staticmethod
    def check(directory: str) -> None:
        """Refuse what is no folder."""
        check_folder("tracker.tensorboard.directory", Path(directory))

    def begin(self, run: Run, history: Sequence[Mapping[str, float]], ended: float) -> None:
        """Write a run's file anew from its history: no epoch stands in two files, nor one that is no longer its own."""
        folder = Path(self.directory) / run.run_id
        if folder.is_symlink():
            raise StoreError(f"{folder} is a link; nothing is written into a folder that lies elsewhere")
        folder.mkdir(parents=True, exist_ok=True)
        before = list(folder.glob("*tfevents*"))
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.lossbench"
        started = ended - sum(row["seconds"] for row in history)
        epochs = [event for row, at in timed(history, ended) for event in self._epoch(row, at)]
        self._write([*self._settings(run, started), *epochs])
        self.epochs = len(history)
        for path in before:
            path.unlink(missing_ok=True)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Add an epoch."""
        self._write(self._epoch(row, time.time()))
        self.epochs = int(row["epoch"])

    def finish(self, result: Result) -> None:
        """Add metrics at the last epoch, and the figure."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        now = time.time()
        width, height = struct.unpack(">II", result.reliability[16:24])  # of the PNG's first chunk
        image = Summary.Image(
            encoded_image_string=result.reliability, width=width, height=height, colorspace=4
        )  # 4: with an alpha channel
        figure = Summary(value=[Summary.Value(tag="reliability/test", image=image)])
        facts = _text("facts", json.dumps(dict(result.facts), indent=1))
        events = [_event(now, self.epochs, part) for part in (figure, facts)]
        self._write([*_scalars(result.metrics, self.epochs, now), *events])

    def stop(self, *, failed: bool) -> None:
        """Nothing is open."""

    def _settings(self, run: Run, started: float) -> list[Event]:
        import yaml
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        config = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)
        return [
            Event(wall_time=started, file_version="brain.Event:2"),
            _event(started, 0, hparams_pb(run.settings(), trial_id=run.run_id, start_time_secs=started)),
            _event(started, 0, _text("config", config)),
            _event(started, 0, _text("overrides", " ".join(run.overrides))),
        ]

    def _epoch(self, row: Mapping[str, float], at: float) -> list[Event]:
        return _scalars(curve(row), int(row["epoch"]), at)

    def _write(self, events: Sequence[Event]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self.path.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())


def _scalars(values: Mapping[str, float], step: int, at: float) -> list[Event]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
    return [_event(at, step, summary)]


def _text(tag: str, text: str) -> Any:
    """A text as it stands: to Markdown, what is indented by four is code."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(tag, "\n".join(f"    {line}" for line in text.splitlines()))


def _event(at: float, step: int, summary: Any) -> Event:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=at, step=step, summary=summary)
