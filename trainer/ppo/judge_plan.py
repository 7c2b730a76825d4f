"""What the judges of a run say of themselves, before it."""

from __future__ import annotations

from rewardplane import Client
from rewardplane.errors import RewardplaneError
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.results import ModelInfo

from ..judges import JudgeConfig, JudgeGone, JudgeMisfit, ReferenceJudge, RewardJudge
from .config import PpoRunConfig

PATIENCE_S = 5.0


def ask_judges(
    config: PpoRunConfig, encoder: PairEncoder, longest_pair: int
) -> tuple[list[tuple[str, str]], list[str]]:
    """A line for each judge, and what is wrong with them. Waits no longer than PATIENCE_S for one."""
    lines, problems = [], []
    for role, judge in (("reward", config.reward), ("reference", config.reference)):
        impatient = judge.model_copy(update={"timeout_s": PATIENCE_S, "outage_limit_s": 0.0})
        try:
            text, problem = _ask(role, impatient, encoder, longest_pair)
        except (JudgeGone, JudgeMisfit, RewardplaneError) as error:
            text, problem = judge.target, str(error)
        lines.append((role, text))
        problems += [problem] if problem else []
    return lines, problems


def _ask(role: str, judge: JudgeConfig, encoder: PairEncoder, longest_pair: int) -> tuple[str, str]:
    connected = ReferenceJudge(judge, encoder) if role == "reference" else RewardJudge(judge, encoder)
    digest = connected.digest
    connected.close()
    if judge.kserve:
        return f"{judge.target}, {digest}", ""
    with Client(judge.target, timeout_s=judge.timeout_s) as client:
        info = client.info()
    text = f"{judge.target}, {info.model_version.model_name} {digest[:12]}, {info.dtype}; {_limits(info)}"
    same_tokens = info.tokenizer_fingerprint == encoder.fingerprint
    if same_tokens and info.max_pair_tokens and longest_pair > info.max_pair_tokens:
        return text, (
            f"the {role} judge takes pairs of {info.max_pair_tokens} tokens, and question and answer may have "
            f"{longest_pair}: lower data.max_question_tokens or sampling.max_answer_tokens"
        )
    return text + ("" if same_tokens else "; another tokenizer: it is sent text"), ""


def _limits(info: ModelInfo) -> str:
    limits = ((info.max_pair_tokens, "tokens in a pair"), (info.max_request_pairs, "pairs in a request"))
    return "at most " + ", ".join(f"{limit:,} {what}" for limit, what in limits if limit)
