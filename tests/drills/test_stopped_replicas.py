"""SIGSTOP: a replica's process stands still, its connections do not, and later it goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from judge_process import JudgeProcess
from leaks import wait_for
from peer_forward import peer_score
from servers import scrape
from tiny_models import REWARD_OFFSET

from rewardplane import Client
from rewardplane.errors import DeadlineExceeded
from rewardplane.wire import TokenPair

PAIR = ([5, 6, 7], [8, 9])


def test_calls_end_at_their_deadline_and_what_is_late_is_not_computed(reward_dir: Path, tmp_path: Path) -> None:
    process = JudgeProcess("reward", reward_dir, tmp_path)
    expected = pytest.approx(np.array(peer_score(reward_dir, [PAIR])) - REWARD_OFFSET, abs=1e-5)
    try:
        with Client(process.target, timeout_s=30.0) as client:
            assert client.score([TokenPair(*PAIR)]).values == expected
            os.kill(process.pid, signal.SIGSTOP)
            try:
                for _ in range(3):
                    with pytest.raises(DeadlineExceeded):
                        client.score([TokenPair(*PAIR)], timeout_s=0.3)
            finally:
                os.kill(process.pid, signal.SIGCONT)
            assert client.score([TokenPair(*PAIR)]).values == expected
        metrics = scrape(process.metrics_port)
        assert metrics["rewardplane_batch_pairs_sum", ()] == 2
        assert wait_for(lambda: scrape(process.metrics_port)["rewardplane_queue_tokens", ()] == 0)
        assert process.drain() == 0
    finally:
        process.kill()
