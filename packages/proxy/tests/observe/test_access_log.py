from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import trio
import trio.testing

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import AccessLogConfig
from isthmus_proxy.observe.access_log import AccessLogManager
from isthmus_proxy.observe.log_writer import LogBounds
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.testing import eventually

INFO = StreamInfo(0.0, 0.0)


def config(path: Path, text: str = "line\n") -> AccessLogConfig:
    return AccessLogConfig(str(path), text_format=text)


@pytest.fixture
def stats() -> StatsStore:
    return StatsStore()


@pytest.mark.trio
async def test_lines_reach_the_file_within_the_flush_interval(tmp_path: Path, stats: StatsStore) -> None:
    path = tmp_path / "access.log"
    logs = AccessLogManager(stats)
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        (logger,) = logs.open_loggers((config(path),))
        for _ in range(3):
            logger.log(INFO)
        assert not path.exists(), "logging must not touch the disk itself"
        await eventually(lambda: path.exists() and path.read_text() == "line\n" * 3)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        # The writer counts back in the event loop, a moment after its thread has written.
        await eventually(lambda: stats.value("filesystem.write_completed") == 1)
        assert stats.value("filesystem.write_total_buffered") == 0
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_proxy_that_closes_its_listeners_and_ends_writes_what_they_logged(
    tmp_path: Path, stats: StatsStore
) -> None:
    path = tmp_path / "access.log"
    logs = AccessLogManager(stats)
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        loggers = logs.open_loggers((config(path),))
        loggers[0].log(INFO)
        await trio.testing.wait_all_tasks_blocked()
        logs.close_loggers(loggers)
        nursery.cancel_scope.cancel()
    assert path.read_text() == "line\n"


@pytest.mark.trio
async def test_a_full_buffer_is_written_before_the_interval(tmp_path: Path, stats: StatsStore) -> None:
    path = tmp_path / "access.log"
    logs = AccessLogManager(stats, LogBounds(flush_seconds=float("inf")))
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        (logger,) = logs.open_loggers((config(path, "x" * 1023 + "\n"),))
        for _ in range(64):
            logger.log(INFO)
        await eventually(lambda: path.exists() and path.stat().st_size == 65536)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_what_is_pending_at_the_end_is_written(tmp_path: Path, stats: StatsStore) -> None:
    path = tmp_path / "access.log"
    logs = AccessLogManager(stats)
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        logs.open_loggers((config(path),))[0].log(INFO)
        nursery.cancel_scope.cancel()
    assert path.read_text() == "line\n"


@pytest.mark.trio
async def test_a_pipe_that_nobody_reads_delays_nothing_and_drops_are_counted(tmp_path: Path, stats: StatsStore) -> None:
    stalled, healthy = tmp_path / "stalled", tmp_path / "healthy"
    os.mkfifo(stalled)
    logs = AccessLogManager(stats, LogBounds(flush_bytes=1_000, buffer_bytes=10_000, close_seconds=0.01))
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        stuck, fine = logs.open_loggers((config(stalled, "y" * 99 + "\n"), config(healthy)))
        for _ in range(150):
            stuck.log(INFO)  # a call that blocked would hang the test here
        assert stats.value("access_log_file.write_dropped") == 50
        fine.log(INFO)
        await eventually(lambda: healthy.exists() and healthy.read_text() == "line\n")
        # The reader comes: what was kept arrives, whole lines only, and there is room again.
        reader = os.open(stalled, os.O_RDONLY | os.O_NONBLOCK)
        received = bytearray()

        def drained() -> bool:
            try:
                received.extend(os.read(reader, 65536))
            except BlockingIOError:
                return False
            return len(received) == 10_000

        await eventually(drained)
        assert bytes(received) == (b"y" * 99 + b"\n") * 100
        await eventually(lambda: stats.value("filesystem.write_total_buffered") == 0)
        nursery.cancel_scope.cancel()
    os.close(reader)


@pytest.mark.trio
async def test_after_rotation_lines_go_to_a_new_file(tmp_path: Path, stats: StatsStore) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    logs = AccessLogManager(stats)
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        (logger,) = logs.open_loggers((config(path),))
        logger.log(INFO)
        await eventually(lambda: path.exists() and path.read_text() == "line\n")
        path.rename(old)
        logs.reopen()
        logger.log(INFO)
        await eventually(path.exists)
        nursery.cancel_scope.cancel()
    assert (old.read_text(), path.read_text()) == ("line\n", "line\n")


@pytest.mark.trio
async def test_a_path_that_cannot_be_opened_costs_lines_not_requests(tmp_path: Path, stats: StatsStore) -> None:
    logs = AccessLogManager(stats)
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        (logger,) = logs.open_loggers((config(tmp_path / "absent" / "access.log"),))
        logger.log(INFO)
        await eventually(lambda: stats.value("filesystem.write_failed") == 1)
        (tmp_path / "absent").mkdir()
        logger.log(INFO)
        await eventually((tmp_path / "absent" / "access.log").exists)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_loggers_of_one_path_share_its_writer_and_the_last_closes_it(tmp_path: Path, stats: StatsStore) -> None:
    path = tmp_path / "access.log"
    logs = AccessLogManager(stats)
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        first = logs.open_loggers((config(path, "a\n"), config(path, "b\n")))
        second = logs.open_loggers((config(path, "c\n"),))
        for logger in (*first, *second):
            logger.log(INFO)
        logs.close_loggers(first)
        logs.close_loggers(second)
        await eventually(lambda: path.exists() and path.read_text() == "a\nb\nc\n")
        assert not logs._writers
        nursery.cancel_scope.cancel()


def test_a_bad_format_opens_nothing(tmp_path: Path, stats: StatsStore) -> None:
    logs = AccessLogManager(stats)
    with pytest.raises(ConfigError, match="NOPE"):
        logs.open_loggers((config(tmp_path / "a"), config(tmp_path / "b", "%NOPE%")))
    assert not logs._writers
