"""Judges behind TLS and tokens, on both protocols."""

from __future__ import annotations

import pytest
from access_files import AccessFiles
from certificates import Authority
from pydantic import ValidationError
from rewardplane.trainer.judges import JudgeConfig, JudgeMisfit, ReferenceJudge, RewardJudge
from rewardplane.trainer.judges.config import TlsConfig
from servers import served
from tiny_models import VOCABULARY, make_tokenizer

from rewardplane import Unauthenticated
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.wire import TextPair

ENCODER = PairEncoder(make_tokenizer(chat=True), [1], VOCABULARY)
PAIRS = [ENCODER.encode(TextPair("How was it?", "Good."))]


@pytest.fixture
def sealed(tmp_path):
    """Settings of servers, and those of judges for them."""
    authority = Authority(tmp_path)
    own, trainer = authority.issue("server.test"), authority.issue("trainer.test")
    files = AccessFiles(tmp_path, trainer='capabilities = ["score", "logprobs"]')
    (tmp_path / "token").write_text(files.tokens["trainer"])
    server = {"access": files.path, "tls_cert": own.cert, "tls_key": own.key, "tls_client_ca": authority.ca}
    tls = TlsConfig(ca=trainer.ca, cert=trainer.cert, key=trainer.key)
    return server, {"tls": tls, "token_file": tmp_path / "token"}


def test_judges_show_their_certificate_and_token(sealed, reward_dir, sft_dir):
    settings, secured = sealed
    with served("reward", reward_dir, **settings) as reward, served("reference", sft_dir, **settings) as reference:
        over_ours = RewardJudge(JudgeConfig(target=reward.target, **secured), ENCODER)
        over_kserve = RewardJudge(JudgeConfig(target=f"kserve://{reward.target}/{reward_dir.name}", **secured), ENCODER)
        judge = ReferenceJudge(JudgeConfig(target=reference.target, **secured), ENCODER)
        scores = over_ours.scores(["How was it?"], PAIRS)
        # This one is sent text, whose tokens come out the same.
        assert over_kserve.scores(["How was it?"], PAIRS).tolist() == pytest.approx(scores.tolist(), abs=1e-5)
        assert len(judge.logprobs(PAIRS, 1.0)[0]) == len(PAIRS[0].answer_ids)
        for each in (over_ours, over_kserve, judge):
            each.close()


def test_a_judge_that_knows_no_token_ends_the_run(sealed, reward_dir, tmp_path):
    settings, secured = sealed
    (tmp_path / "token").write_text("wrong")
    with served("reward", reward_dir, **settings) as reward:
        for target in (reward.target, f"kserve://{reward.target}/{reward_dir.name}"):
            with pytest.raises(Unauthenticated):
                RewardJudge(JudgeConfig(target=target, **secured), ENCODER)


def test_files_that_are_not_there_are_named(sealed, tmp_path):
    (tmp_path / "token").unlink()
    for target in ("localhost:1", "kserve://localhost:1/rm"):
        with pytest.raises(JudgeMisfit, match="token_file is"):
            RewardJudge(JudgeConfig(target=target, **sealed[1]), ENCODER)
    with pytest.raises(ValidationError, match="give both or neither"):
        JudgeConfig(target="localhost:1", tls=TlsConfig(cert=tmp_path / "tls.crt"))
