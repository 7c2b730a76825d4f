"""`rewardplane train ppo --plan`: what a run would do, and what would stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Configure
from ppo_runs import AHEAD, Judges, Models, settings, write_config, write_lines
from rewardplane.trainer.__main__ import train
from rewardplane.trainer.ppo.train import run_ppo

Plan = Callable[[Mapping[str, Any]], tuple[int, dict[str, str], str]]


@pytest.fixture
def plan(tmp_path: Path, models: Models, judges: Judges, capsys: pytest.CaptureFixture[str]) -> Plan:
    """Gives the exit status, the lines by their word, and what was said on stderr."""

    def ask(overrides: Mapping[str, Any]) -> tuple[int, dict[str, str], str]:
        path = write_config(tmp_path, settings(tmp_path, models, judges, overrides))
        status = train(["ppo", "--config", str(path), "--plan"])
        said = capsys.readouterr()
        return status, dict(line.split(maxsplit=1) for line in said.out.splitlines()), said.err

    return ask


def test_plan_tells_sizes_tokens_and_judges(plan: Plan, tmp_path: Path, judges: Judges) -> None:
    questions = write_lines(tmp_path / "two.jsonl", "question", ["A", "7" * 19])  # 2 and 20 tokens, with <s>
    held_out = write_lines(tmp_path / "one.jsonl", "question", ["A"])
    status, lines, errors = plan({"data.prompts": str(questions), "evaluation.prompts": str(held_out)})
    assert (status, errors) == (0, "")
    assert lines["questions"] == "2, and 1 held out; the longest has 20 tokens"
    # 4 questions of 20 tokens with 2 answers of 8 each: 4 * (20 + 2 * 8) = 144 tokens; two steps of 72 in rows of 64.
    assert lines["update"] == (
        "8 answers of at most 8 tokens to 4 questions: at most 144 tokens, each question once; 2 epochs of 2 steps"
    )
    assert lines["step"] == "at most 2 micro-batches of 64 tokens and 3 pretraining texts"
    assert lines["run"] == "5 updates: 40 answers, 720 tokens"
    assert lines["policy"].startswith("LlamaForCausalLM, ")
    assert lines["value"].startswith("LlamaForSequenceClassification, ")
    for role, target in (("reward", judges.reward), ("reference", judges.reference)):
        assert lines[role].startswith(f"{target}, ")
        assert "float32; at most 256 tokens in a pair, 256 pairs in a request" in lines[role]
    assert lines["output"] == f"{tmp_path}/run; the run begins anew"
    assert "every 2 updates and at the end" in lines["policies"]


def test_parameters_and_bytes_by_hand(plan: Plan) -> None:
    # Tied Llama of 320 tokens, width 32, 2 layers, 4 heads of 8, 2 of them for keys: embedding 320 * 32 = 10240; a
    # layer has 32 * 32 + 2 * 32 * 16 + 32 * 32 = 3072 of attention, 3 * 32 * 64 = 6144 and two norms of 32; a norm
    # of 32; and the unembedding of another 10240, since these models are not tied.
    _, lines, _ = plan({})
    policy = 2 * 10240 + 2 * (3072 + 6144 + 64) + 32
    value = 10240 + 2 * (3072 + 6144 + 64) + 32 + 32  # the head of 32 stands for the unembedding
    assert lines["policy"] == f"LlamaForCausalLM, {policy:,} parameters"
    assert lines["value"] == f"LlamaForSequenceClassification, {value:,} parameters"
    assert lines["memory"].startswith(f"{16 * (policy + value) / 2**20:.1f} MiB of weights")
    assert lines["states"] == f"{12 * (policy + value) / 2**20:.1f} MiB every 1 updates; 2 are kept"
    assert lines["policies"].startswith(f"{4 * policy / 2**20:.1f} MiB every 2 updates")


def test_only_what_learns_has_gradients_and_moments(plan: Plan) -> None:
    # Rank 2: q and o have 2 * (32 + 32), k and v 2 * (32 + 16), gate, up and down 2 * (32 + 64); in 2 layers of 2
    # models; and the head of 32. Policy and value model hold 39072 and 28864 parameters, see above.
    adapters = 2 * 2 * (2 * 128 + 2 * 96 + 3 * 192)
    _, lines, _ = plan({"policy.lora.rank": 2, "value.lora.rank": 2})
    held = 39072 + 28864 + adapters
    assert lines["memory"].startswith(f"{(4 * held + 12 * (adapters + 32)) / 2**20:.1f} MiB of weights")
    assert lines["states"].startswith(f"{(4 * held + 8 * (adapters + 32)) / 2**20:.1f} MiB")


def test_plan_says_what_auto_chooses(plan: Plan) -> None:
    assert "layers" not in plan({})[1]
    assert plan({"gradient_checkpointing": "auto"})[1]["layers"].startswith("kept, as ")
    # 4 bytes of 16 * 32 + 4 * 64 numbers, 2 layers, for 10^9 tokens: 5.6 TiB
    much = {"gradient_checkpointing": "auto", "ppo.micro_batch_tokens": 10**9}
    assert plan(much)[1]["layers"].startswith("computed again, as ")


def test_plan_says_that_answers_are_sampled_ahead(plan: Plan) -> None:
    assert "ahead" not in plan({})[1]
    assert plan(AHEAD)[1]["ahead"].startswith("an update's answers are sampled before the epochs of the one before")


def test_plan_leaves_nothing_behind(plan: Plan, tmp_path: Path) -> None:
    assert plan({})[0] == 0
    assert not (tmp_path / "run").exists()


def test_plan_says_where_the_run_goes_on(plan: Plan, tmp_path: Path, configure: Configure) -> None:
    run_ppo(configure(tmp_path, {"updates": 1, "evaluation.prompts": None, "score.normalise_answers": 0}))
    assert plan({})[1]["output"] == f"{tmp_path}/run; the run goes on after update 1"


def test_judge_that_does_not_answer_is_a_problem(plan: Plan) -> None:
    status, lines, errors = plan({"reward.target": "127.0.0.1:1"})
    assert status == 1
    assert lines["reward"] == "127.0.0.1:1"
    assert "error: the reward judge at 127.0.0.1:1 has not answered" in errors
    assert "reference" in lines


def test_judges_the_wrong_way_round_are_problems(plan: Plan, judges: Judges) -> None:
    status, _, errors = plan({"reward.target": judges.reference, "reference.target": judges.reward})
    assert status == 1
    assert "does not score: is it the reference?" in errors
    assert "holds a reward model, which is no reference" in errors
