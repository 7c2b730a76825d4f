"""An API server of the tests' own: HTTPS, bearer tokens, RBAC, watches, and faults on demand."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from kube_rules import Refused, admit, authorize
from kube_store import Object, Store, merge_patch, strategic_merge_patch
from kube_streams import Streams, break_off, send_log, send_watch
from manifests import selects

USER = "system:serviceaccount:rlhf:launcher"
KINDS = {"jobs": "Job", "cronjobs": "CronJob", "deployments": "Deployment", "pods": "Pod", "events": "Event"}
_PATH = re.compile(
    r"/(?:api/v1|apis/(?:batch|apps)/v1)/namespaces/(?P<namespace>[^/]+)/(?P<resource>\w+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>\w+))?)?"
)
Fault = Callable[[str, str], "Refused | str | None"]
"""Takes method and path; gives a refusal, "reset" to break the connection, "lose" to do it and break it, or None."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was sent away, is no news."""


class KubeServer:
    """The namespace rlhf of a cluster. Controllers are the tests' affair: they call the store."""

    def __init__(self, rules: list[Object], folder: Path) -> None:
        self.rules = rules
        self.store = Store()
        self.tokens = {"first-token"}
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault = lambda method, path: None
        self.streams = Streams(self.store)
        self.on_delete: Callable[[str, str], None] = self.store.remove
        self._folder = folder
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(folder))
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def kubeconfig(self) -> Path:
        """With the token in a file of its own, as pods have it."""
        token = self._folder / "token"
        token.write_text("first-token")
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "launcher"}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": f"https://127.0.0.1:{self._http.server_port}",
                        "certificate-authority": str(self._folder / "tls.crt"),
                    },
                }
            ],
            "users": [{"name": "launcher", "user": {"tokenFile": str(token)}}],
        }
        path = self._folder / "kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return path

    def close(self) -> None:
        self.streams.stopped.set()
        self._http.shutdown()
        self._http.server_close()


def certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "tls.crt", folder / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=kube", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    try:
        subprocess.run([*command, *names, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed; the API server of the tests wants a certificate")
    return certificate, key


def _handler(server: KubeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        kube = server

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            _answer(self, server)

    for method in ("POST", "PATCH", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.do_GET)
    return Handler


def _answer(handler: Any, server: KubeServer) -> None:
    url = urlsplit(handler.path)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    server.requests.append((handler.command, handler.path))
    fault = server.fault(handler.command, handler.path)
    if fault == "reset":
        break_off(handler)
        return
    try:
        if isinstance(fault, Refused):
            raise fault
        if handler.headers.get("Authorization", "").removeprefix("Bearer ") not in server.tokens:
            raise Refused.unauthorized()
        _dispatch(handler, server, url.path, query, json.loads(body) if body else None, lost=fault == "lose")
    except Refused as refusal:
        extra = [] if refusal.retry_after_s is None else [("Retry-After", str(refusal.retry_after_s))]
        _send(handler, refusal.code, refusal.status(), extra)


def _dispatch(handler: Any, server: KubeServer, path: str, query: dict[str, str], body: Any, lost: bool) -> None:
    match = _PATH.fullmatch(path)
    if match is None:
        raise Refused(404, "NotFound", "the server could not find the requested resource")
    resource, name, sub = match["resource"], match["name"] or "", match["sub"] or ""
    selector = dict(item.split("=", 1) for item in query.get("fieldSelector", "").split(",") if item)
    collection = "watch" if query.get("watch") == "1" else "list"
    verbs = {
        "GET": "get" if name else collection,
        "POST": "create",
        "PATCH": "patch",
        "PUT": "update",
        "DELETE": "delete",
    }
    verb = verbs[handler.command]
    authorize(server.rules, USER, verb, resource, name or selector.get("metadata.name", ""), sub)
    if match["namespace"] != "rlhf":
        raise Refused(404, "NotFound", f'namespaces "{match["namespace"]}" not found')
    if resource not in KINDS:
        raise Refused(404, "NotFound", "the server could not find the requested resource")
    keep = _filter(selector, query.get("labelSelector", ""))
    if sub == "log":
        send_log(handler, server.streams, name, query)
    elif verb == "watch":
        send_watch(handler, server.streams, resource, keep, query)
    else:
        status, content, warnings = _change(server, verb, resource, name, body, query, handler.headers, keep)
        if lost:  # it was done, and nobody hears of it
            break_off(handler)
            return
        _send(handler, status, content, [("Warning", f'299 - "{_quoted(text)}"') for text in warnings])


def _change(
    server: KubeServer, verb: str, resource: str, name: str, body: Any, query: dict[str, str], headers: Any,
    keep: Callable[[Object], bool],
) -> tuple[int, Object, tuple[str, ...]]:  # fmt: skip
    store = server.store
    if verb == "get":
        return 200, store.get(resource, name), ()
    if verb == "list":
        items, version = store.list(resource, keep)
        return (
            200,
            {"kind": f"{KINDS[resource]}List", "metadata": {"resourceVersion": str(version)}, "items": items},
            (),
        )
    if verb == "create":
        warnings = admit(body, strict=query.get("fieldValidation") == "Strict")
        return 201, store.create(resource, body, dry_run=query.get("dryRun") == "All"), warnings
    if verb == "delete":
        uid = ((body or {}).get("preconditions") or {}).get("uid")
        if uid not in (None, store.get(resource, name)["metadata"]["uid"]):
            raise Refused.conflict(resource, name)
        marked = store.mark_deleted(resource, name)
        threading.Timer(0.1, server.on_delete, (resource, name)).start()
        return 200, marked, ()
    if verb == "update":
        return 200, store.replace(resource, name, body), ()
    patch = {
        "application/merge-patch+json": merge_patch,
        "application/strategic-merge-patch+json": strategic_merge_patch,
    }[headers["Content-Type"]]
    return 200, store.replace(resource, name, patch(store.get(resource, name), body)), ()


def _filter(selector: dict[str, str], labels: str) -> Callable[[Object], bool]:
    wanted = dict(item.split("=", 1) for item in labels.split(",") if item)

    def keep(item: Object) -> bool:
        found = {
            "metadata.name": item["metadata"]["name"],
            "involvedObject.name": item.get("involvedObject", {}).get("name"),
        }
        fields = all(found[key] == value for key, value in selector.items())
        return fields and selects({"matchLabels": wanted}, item["metadata"].get("labels", {}))

    return keep


def _send(handler: Any, code: int, content: Object, headers: list[tuple[str, str]]) -> None:
    data = json.dumps(content).encode()
    handler.send_response(code)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@contextmanager
def kube_server(rules: list[Object], folder: Path) -> Iterator[KubeServer]:
    server = KubeServer(rules, folder)
    try:
        yield server
    finally:
        server.close()
