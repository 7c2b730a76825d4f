"""How each server is asked: by its own protocol, through the client that its users have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import aiohttp
import numpy as np
import tritonclient.grpc.aio as triton

from rewardplane import AsyncClient
from rewardplane.wire import TextPair

from .assets import Request

TIMEOUT_S = 300.0


class Asks(Protocol):
    """One server, asked by many callers of one event loop."""

    async def scores(self, request: Request) -> list[float]: ...

    async def close(self) -> None: ...


class AsksOurs:
    """rewardplane.AsyncClient, in text."""

    def __init__(self, port: int) -> None:
        self._client = AsyncClient(f"127.0.0.1:{port}", timeout_s=TIMEOUT_S)

    async def scores(self, request: Request) -> list[float]:
        pairs = [TextPair(request.question, answer) for answer in request.answers]
        return list(await self._client.score(pairs))

    async def logprobs(self, request: Request) -> list[float]:
        """Of the answers' tokens, pair by pair."""
        pairs = [TextPair(request.question, answer) for answer in request.answers]
        reply = await self._client.logprobs(pairs)
        return [value for values in reply.values for value in values.tolist()]

    async def close(self) -> None:
        await self._client.close()


class _AsksHttp:
    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(TIMEOUT_S))

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        async with self._session.post(self._base + path, json=body) as reply:
            reply.raise_for_status()
            return await reply.json()

    async def close(self) -> None:
        await self._session.close()


class AsksFastApi(_AsksHttp):
    """JSON over HTTP: a question and its answers."""

    async def scores(self, request: Request) -> list[float]:
        reply = await self._post("/score", {"question": request.question, "answers": request.answers})
        return list(reply["scores"])


class AsksVllm(_AsksHttp):
    """vLLM's /classify without its activation, and the log-probs of its prompts."""

    async def scores(self, request: Request) -> list[float]:
        reply = await self._post("/classify", {"model": "rm", "input": request.texts, "use_activation": False})
        return [item["probs"][0] for item in reply["data"]]

    async def logprobs(self, request: Request) -> list[float]:
        """Of the answers' tokens, pair by pair. vLLM computes those of the question, too: it cannot be told not to."""
        values = []
        for text, wanted in zip(request.texts, request.answer_tokens, strict=True):
            body = {"model": "rm", "prompt": text, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
            reply = await self._post("/v1/completions", body)
            tokens = reply["choices"][0]["prompt_logprobs"][-wanted:]
            values += [next(iter(token.values()))["logprob"] for token in tokens]
        return values


class AsksTriton:
    """tritonclient, as the KServe v2 protocol has it."""

    def __init__(self, port: int) -> None:
        self._client = triton.InferenceServerClient(f"127.0.0.1:{port}")

    async def scores(self, request: Request) -> list[float]:
        inputs = [
            self._tensor("question", [request.question] * len(request.answers)),
            self._tensor("answer", request.answers),
        ]
        reply = await self._client.infer("rm", inputs, client_timeout=TIMEOUT_S)
        return list(map(float, reply.as_numpy("score")[:, 0]))

    def _tensor(self, name: str, texts: Sequence[str]) -> Any:
        tensor = triton.InferInput(name, [len(texts), 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[text.encode()] for text in texts], object))
        return tensor

    async def close(self) -> None:
        await self._client.close()


async def all_scores(asks: Asks, requests: Sequence[Request], at_once: int = 8) -> list[float]:
    """The scores of all pairs, in order."""
    gate = asyncio.Semaphore(at_once)

    async def one(request: Request) -> list[float]:
        async with gate:
            return await asks.scores(request)

    return [score for scores in await asyncio.gather(*map(one, requests)) for score in scores]
