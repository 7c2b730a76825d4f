"""The reference of an implicit reward: log-probs of the frozen SFT model, asked of its own server.

beta * log(pi(y|x) / pi_SFT(y|x)) is the reward under which pi is the optimal policy, up to a constant of the
question (arXiv:2305.18290, eq. 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardplane.aio import AsyncClient
from rewardplane.errors import DeadlineExceeded, RewardplaneError, ServerFault, Unavailable
from rewardplane.tls import TlsFiles
from rewardplane.wire import TokenPair

from ..common.config import ServerConfig, WrongSetting

TIMEOUT_S = 30.0
"""When the caller sets no deadline."""


def reference_of(config: ServerConfig) -> Reference | None:
    """The reference that a server was given. Raises WrongSetting for files that cannot be used."""
    files = (config.reference_tls_ca, config.reference_tls_cert, config.reference_tls_key)
    for name in ("reference_tls_ca", "reference_tls_cert", "reference_tls_key", "reference_token_file"):
        path = getattr(config, name)
        if path and not config.reference:
            raise WrongSetting(name, "is of use with --reference only")
        if path and not path.is_file():
            raise WrongSetting(name, f"{path} is no file")
    if config.reference is None:
        return None
    try:
        tls = TlsFiles(*files) if any(files) else None
    except ValueError as error:
        raise WrongSetting("reference_tls_cert", str(error)) from error
    return Reference(config.reference, tls, config.reference_token_file)


class Reference:
    """A reference server. Its first answer pins its weights: a redeploy with others fails loudly."""

    def __init__(self, target: str, tls: TlsFiles | None = None, token_file: Path | None = None) -> None:
        self._target = target
        self._tls = tls
        self._token_file = token_file
        self._client: AsyncClient | None = None
        self._digest: str | None = None

    async def sums(
        self, pairs: Sequence[TokenPair], fingerprint: str, deadline_s: float | None
    ) -> NDArray[np.float32]:  # [n]
        """Summed log-probs, nats. Raises Unavailable (REFERENCE_UNAVAILABLE) and ServerFault (REFERENCE_FAILED)."""
        if self._client is None:
            self._client = AsyncClient(
                self._target, tokenizer_fingerprint=fingerprint, tls=self._tls, token_file=self._token_file
            )
        timeout_s = TIMEOUT_S if deadline_s is None else deadline_s
        try:
            logprobs = await self._client.logprobs(pairs, expected_checkpoint_digest=self._digest, timeout_s=timeout_s)
        except (Unavailable, DeadlineExceeded) as error:
            raise Unavailable(
                f"the reference does not answer: {error}", reason="REFERENCE_UNAVAILABLE", retry_after_s=2.0
            ) from error
        except RewardplaneError as error:
            raise ServerFault(f"the reference refuses: {error}", reason="REFERENCE_FAILED") from error
        self._digest = logprobs.model_version.checkpoint_digest or self._digest
        return np.array([values.sum(dtype=np.float64) for values in logprobs.values], np.float32)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
