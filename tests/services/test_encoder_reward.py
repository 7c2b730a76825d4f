"""A reward server whose model is an encoder: texts of any tokenizer, scores of no batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rpc
import torch
from servers import served
from tiny_encoders import save_encoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

QUESTION = "What did you think of it?"
ANSWERS = ["It was good.", "No.", "It was long, and the end was not what I had hoped for.", "x"]


@torch.no_grad()
def test_served_scores_are_those_of_transformers_less_the_offset(tmp_path: Path) -> None:
    save_encoder(tmp_path / "rm")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", dtype=torch.float64).eval()
    model.config.reward_offset = 0.25
    model.config.save_pretrained(tmp_path / "rm")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "rm")
    rows = [tokenizer(QUESTION, a, return_tensors="pt", return_token_type_ids=True) for a in ANSWERS]
    raw = np.array([model(input_ids=r["input_ids"], token_type_ids=r["token_type_ids"]).logits.item() for r in rows])
    assert raw.std() > 0.01
    with served("reward", tmp_path / "rm") as server:
        together = rpc.score(server.channel, [rpc.text(QUESTION, answer) for answer in ANSWERS]).scores
        alone = [rpc.score(server.channel, [rpc.text(QUESTION, answer)]).scores[0] for answer in ANSWERS]
        padding = server.metrics()[("rewardplane_tokens_total", ("filler",))]
    np.testing.assert_allclose(together, raw - 0.25, atol=1e-5)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    lengths = [row["input_ids"].shape[1] for row in rows]
    # All four in one batch, as wide as the longest; a pair alone has no padding. Warm-up and self-check count nothing.
    assert padding == 4 * max(lengths) - sum(lengths)


def test_a_pair_beyond_the_encoders_positions_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path / "rm")
    with served("reward", tmp_path / "rm") as server:
        with pytest.raises(rpc.grpc.RpcError) as caught:
            rpc.score(server.channel, [rpc.text(QUESTION, "It was long. " * 60)])
        assert rpc.info(server.channel).max_pair_tokens == 128
    assert "at most 128 are accepted" in caught.value.details()
