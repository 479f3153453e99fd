"""Frames as the store makes them, as fixtures."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from frames_by_hand import frame, run


@pytest.fixture(name="run", scope="session")
def run_fixture() -> Callable[..., dict[str, Any]]:
    return run


@pytest.fixture(name="frame", scope="session")
def frame_fixture() -> Callable[..., pd.DataFrame]:
    return frame
