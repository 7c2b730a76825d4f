"""A real NVIDIA Triton (PyTriton 0.7.0) as PPO's reward judge."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Configure
from ppo_runs import SCORES_AS_GIVEN, figures
from rewardplane.trainer.judges import JudgeConfig, JudgeGone, RewardJudge
from rewardplane.trainer.ppo.train import run_ppo
from tiny_models import make_tokenizer

from rewardplane.modeling.encoding import PairEncoder
from rewardplane.wire import TokenPair

PEERS = Path(os.environ.get("REWARDPLANE_PEERS", Path.home() / ".cache" / "rewardplane" / "peers"))
PYTHON = PEERS / "pytriton" / "bin" / "python"
SCRIPT = Path(__file__).parent / "pytriton_reward.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no PyTriton at {PYTHON}: benchmarks/serving.py --quick makes it"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def triton(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    # Triton's python backend is linked to libpython, and would find another Python's.
    library = {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    with (folder / "triton.log").open("w") as log:
        process = subprocess.Popen(
            [str(PYTHON), str(SCRIPT), str(port)], env={**os.environ, **library}, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)  # after SIGTERM tritonserver stays behind for a while, with the port
            process.wait(60)


def test_scores_a_restart_and_a_run(tmp_path: Path, configure: Configure) -> None:
    encoder = PairEncoder(make_tokenizer(), [1], 320)
    port = free_port()
    config = JudgeConfig(target=f"kserve://127.0.0.1:{port}/rm", timeout_s=5.0, outage_limit_s=120.0)
    questions = [f"Was it good, the {n}th time?" for n in range(10)]
    pairs = [
        TokenPair(encoder.encode_question(q), encoder.encode_answer(" Yes." * (n + 1))) for n, q in enumerate(questions)
    ]
    expected = [len(q) + 5 * (n + 1) / 100 for n, q in enumerate(questions)]
    with triton(port, tmp_path):  # which takes seconds to start: the judge waits
        judge = RewardJudge(config, encoder)
        assert judge.outages.retries >= 1
        assert judge.scores(questions, pairs).tolist() == pytest.approx(expected)
        run_ppo(configure(tmp_path, {**SCORES_AS_GIVEN, "updates": 1, "reward.target": config.target}))
        (row,) = figures(tmp_path / "run")
        assert row["score"] is not None
        assert row["score"] > 1.0  # a question is longer than that
    retries = judge.outages.retries
    with triton(port, tmp_path):
        assert judge.scores(questions, pairs).tolist() == pytest.approx(expected)
    assert judge.outages.retries > retries
    impatient = JudgeConfig(target=config.target, timeout_s=0.5, outage_limit_s=1.0)
    with pytest.raises(JudgeGone):
        RewardJudge(impatient, encoder)
    judge.close()
