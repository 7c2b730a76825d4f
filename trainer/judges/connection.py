"""How a judge's server is reached: its client, or the security of a channel to it."""

from __future__ import annotations

from rewardplane import Client
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.security import ChannelSecurity

from .config import JudgeConfig
from .patience import JudgeMisfit


def client_of(config: JudgeConfig, encoder: PairEncoder) -> Client:
    """For token ids of the encoder's tokenizer. Raises JudgeMisfit when its files cannot be read."""
    try:
        return Client(
            config.target,
            timeout_s=config.timeout_s,
            tokenizer_fingerprint=encoder.fingerprint,
            tls=config.tls.files() if config.tls else None,
            token_file=config.token_file,
        )
    except ValueError as error:
        raise JudgeMisfit(f"{config.target}: {error}") from error


def security_of(config: JudgeConfig) -> ChannelSecurity:
    """For a channel of another protocol. Raises JudgeMisfit as `client_of`."""
    try:
        return ChannelSecurity(tls=config.tls.files() if config.tls else None, token_file=config.token_file)
    except ValueError as error:
        raise JudgeMisfit(f"{config.target}: {error}") from error
