"""The command `rewardplane`: the thin client's own commands, and whatever the installed parts add.

A part adds a command by an entry point in the group "rewardplane.commands": a callable that takes its
arguments and returns an exit status. The client imports none of them by name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import EntryPoint, entry_points

import rewardplane
from rewardplane.client import Client
from rewardplane.errors import RewardplaneError
from rewardplane.process import prepare_process
from rewardplane.results import ModelInfo
from rewardplane.tls import TlsFiles

# Which extras bring what a command needs, and its line in --help.
_SHIPPED = {
    "serve": ("serve", "run a reward, reference or policy server"),
    "sign": ("auth", "sign a checkpoint"),
    "verify": ("auth", "compare a checkpoint with its manifest, and its signature with keys"),
    "token": ("serve", "make a bearer token for a server"),
    "train": ("train", "train an SFT, reward or policy model"),
    "data": ("train", "check and convert files of ranked answers"),
    "report": ("train", "what a training run did, as one page"),
    "watch": ("train", "a training run or a server, live in the terminal"),
    "eval": ("train", "measure a reward model on ranked answers"),
    "fetch": ("train", "copy a checkpoint from a URL, verified by its digest"),
    "round": ("serve,train,demo", "one turn of the loop: sample, rank, train again"),
    "label": ("label", "a page on which people rank answers"),
    "pod": ("train", "`train` as the process of a Kubernetes pod, with its exit codes"),
    "job": ("k8s", "training jobs in a Kubernetes cluster"),
    "promote": ("k8s", "serve another checkpoint as the policy of a cluster"),
    "demo": ("serve,train,demo", "the whole loop on this machine, on real human ratings"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. 0 is success, 1 a failure that was explained on stderr, 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    added = {point.name: point for point in entry_points(group="rewardplane.commands")}
    if arguments and arguments[0] in added:
        return _run_added(added[arguments[0]], arguments[1:])
    options = _parser(added).parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
    except (RewardplaneError, ValueError) as error:
        return _fail(str(error))
    return 0


def _run_added(point: EntryPoint, arguments: list[str]) -> int:
    prepare_process()
    try:
        command: Callable[[list[str]], int] = point.load()
        return command(arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "rewardplane"):
            raise  # a fault of ours, not of the installation
        extras, _ = _SHIPPED.get(point.name, (point.name, ""))
        return _fail(
            f"`rewardplane {point.name}` needs {missing}, which is not installed. "
            f"Install it with: pip install 'rewardplane[{extras}]'"
        )


def _parser(added: dict[str, EntryPoint]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("rewardplane", description="RLHF with PPO as microservices.")
    parser.add_argument("--version", action="version", version=f"rewardplane {rewardplane.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    info = commands.add_parser("info", help="show what a server serves")
    info.set_defaults(run=_info)
    score = commands.add_parser("score", help="score answers to one question")
    score.add_argument("--question", required=True)
    score.add_argument("--answer", required=True, action="append", dest="answers", help="may be given several times")
    score.set_defaults(run=_score)
    for command in (info, score):
        command.add_argument("target", metavar="TARGET", help="address of the server, host:port")
        command.add_argument("--timeout-s", type=float, default=60.0, help="default: %(default)s")
        command.add_argument("--tls-ca", metavar="FILE", help="PEM; TLS, with servers of these authorities")
        command.add_argument("--tls-cert", metavar="FILE", help="PEM; the own certificate")
        command.add_argument("--tls-key", metavar="FILE", help="PEM; its private key")
        command.add_argument("--tls-server-name", metavar="NAME", help="in the server's certificate")
        command.add_argument("--token-file", metavar="FILE", help="holds a bearer token")

    for name in added:
        commands.add_parser(name, add_help=False, help=_SHIPPED.get(name, ("", ""))[1])
    return parser


def _info(options: argparse.Namespace) -> None:
    with _client(options) as client:
        sys.stdout.write(json.dumps(_printable(client.info()), indent=2) + "\n")


def _score(options: argparse.Namespace) -> None:
    with _client(options) as client:
        scores = client.score([(options.question, answer) for answer in options.answers])
    for answer, score in zip(options.answers, scores, strict=True):
        # One JSON object a line, so that an answer with line breaks stays one line.
        sys.stdout.write(json.dumps({"score": round(score, 6), "answer": answer}, ensure_ascii=False) + "\n")


def _client(options: argparse.Namespace) -> Client:
    files = (options.tls_ca, options.tls_cert, options.tls_key, options.tls_server_name)
    tls = TlsFiles(*files) if any(files) else None
    return Client(options.target, timeout_s=options.timeout_s, tls=tls, token_file=options.token_file)


def _printable(info: ModelInfo) -> dict[str, object]:
    return {**asdict(info), "score_kind": info.score_kind.value, "load_time": info.load_time.isoformat()}


def _fail(message: str) -> int:
    sys.stderr.write(f"rewardplane: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
