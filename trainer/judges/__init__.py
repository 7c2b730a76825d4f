"""The two judges of PPO, reached over gRPC: a reward model and the frozen reference; and the served policy.

A judge that is down, slow or overloaded pauses the run and changes no number in it: its answers are pure
functions of the pairs, and the weights are pinned when the run starts. Anything else (another digest, another
tokenizer, a non-finite score) stops the run.
"""

from __future__ import annotations

from .config import JudgeConfig as JudgeConfig
from .patience import JudgeGone as JudgeGone
from .patience import JudgeMisfit as JudgeMisfit
from .patience import Outages as Outages
from .policy import PolicyServer as PolicyServer
from .reference import ReferenceJudge as ReferenceJudge
from .reward import RewardJudge as RewardJudge
