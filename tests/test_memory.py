from pathlib import Path

import pytest

from lossbench.memory import free_memory


def write(place: Path, **texts: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (place / name.replace("_", ".", 1)).write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 1000 KiB to have, and a process in the group /jobs/7."""
    write(tmp_path / "proc", meminfo="MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\n")
    write(tmp_path / "proc/self", cgroup="0::/jobs/7\n")
    return tmp_path / "proc"


def test_what_is_available_is_free_and_not_only_what_is_unused(proc: Path, tmp_path: Path) -> None:
    assert free_memory(proc, tmp_path / "none") == 1000 * 1024


def test_a_job_has_what_its_limit_leaves_caches_included(proc: Path, tmp_path: Path) -> None:
    job = tmp_path / "groups/jobs/7"
    write(job, memory_max="5000\n", memory_current="3000\n", memory_stat="anon 100\ninactive_file 400\n")
    assert free_memory(proc, tmp_path / "groups") == 5000 - 3000 + 400


def test_the_narrowest_of_the_groups_around_a_process_counts(proc: Path, tmp_path: Path) -> None:
    write(tmp_path / "groups/jobs/7", memory_max="max\n", memory_current="3000\n")
    write(tmp_path / "groups/jobs", memory_max="4000\n", memory_current="3000\n")
    write(tmp_path / "groups", memory_max="9000\n", memory_current="3500\n")
    assert free_memory(proc, tmp_path / "groups") == 1000


def test_a_job_over_its_limit_has_nothing(proc: Path, tmp_path: Path) -> None:
    write(tmp_path / "groups/jobs/7", memory_max="3000\n", memory_current="3100\n")
    assert free_memory(proc, tmp_path / "groups") == 0


def test_a_system_that_does_not_tell_is_taken_to_be_idle(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path) > 2**20
