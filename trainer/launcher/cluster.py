"""Requests to a cluster's API server, with the patience that they need."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

log = logging.getLogger(__name__)

Object = dict[str, Any]
"""A Kubernetes object, as JSON has it."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

TRY_AGAIN = {429, 500, 502, 503, 504}
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
CONNECT_S, READ_S = 10.0, 60.0


class ApiError(Exception):
    """The API server said no."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{message} ({status} {reason})")
        self.status = status
        self.reason = reason


class Unreachable(Exception):
    """No cluster to talk to, or one that does not answer."""


@dataclass(frozen=True)
class Reply:
    content: Object
    warnings: tuple[str, ...]
    """Of admission: what was accepted, and will not do what was meant."""


class Cluster:
    """One namespace of the cluster that the kubeconfig, or else the pod's own service account, leads to."""

    def __init__(
        self,
        namespace: str,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        patience_s: float = 60.0,
    ) -> None:
        """patience_s: how long a request is tried again while the server is overloaded or away. Raises Unreachable."""
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._context = context
        self._patience_s = patience_s
        self._connect()

    def _connect(self) -> None:
        settings: Any = client.Configuration()
        try:
            # No name of a file at all is kubectl's default: $KUBECONFIG, or ~/.kube/config.
            config.load_kube_config(  # type: ignore[no-untyped-call]
                self._kubeconfig, context=self._context, client_configuration=settings
            )
        except config.ConfigException as error:
            try:
                config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            except config.ConfigException:
                raise Unreachable(f"no cluster is configured: {error}") from error
        self._settings = settings
        self._pool: urllib3.PoolManager = client.ApiClient(settings).rest_client.pool_manager

    def path(self, group: str, resource: str, name: str = "") -> str:
        """The URL path of a resource in the namespace: path("batch/v1", "jobs", "ppo-1")."""
        root = "/api/v1" if group == "v1" else f"/apis/{group}"
        return f"{root}/namespaces/{self.namespace}/{resource}" + (f"/{name}" if name else "")

    def get(self, path: str, **query: str) -> Object:
        return self.request("GET", path, query=query).content

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Reply:
        """Asks until there is an answer. Raises ApiError, and Unreachable when patience ends.

        A request whose answer was lost is sent again, so a POST may meet its own object (409).
        """
        response = self._answered(method, path, query or {}, body, content_type, stream=False)
        warnings = tuple(_warning(text) for text in response.headers.getlist("Warning"))
        return Reply(json.loads(response.data), warnings)

    def lines(self, path: str, **query: str) -> Iterator[str]:
        """The lines of a log or a watch, until the server ends it or the connection breaks: both end it silently."""
        response = self._answered("GET", path, query, None, JSON, stream=True)
        try:
            for line in response:
                yield line.decode(errors="replace").rstrip("\n")
        except urllib3.exceptions.HTTPError as error:
            log.info("the stream of %s broke: %s", path, error)
        finally:
            response.close()

    def _answered(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None, content_type: str, stream: bool
    ) -> urllib3.BaseHTTPResponse:
        end_s = time.monotonic() + self._patience_s
        pause_s = FIRST_PAUSE_S
        reconnected = False
        while True:
            failure: Exception
            try:
                response = self._send(method, path, query, body, content_type, stream)
            except urllib3.exceptions.HTTPError as error:
                failure, hint_s = Unreachable(f"{self._settings.host} does not answer: {error}"), 0.0
            else:
                if response.status < 400:
                    return response
                failure, hint_s = _error(response), _seconds(response.headers.get("Retry-After"))
                if response.status == 401 and not reconnected:
                    # Tokens and certificates are renewed in their files.
                    reconnected = True
                    self._connect()
                    continue
                if response.status not in TRY_AGAIN:
                    raise failure
            wait_s = max(hint_s, pause_s)
            if time.monotonic() + wait_s > end_s:
                raise failure
            log.warning("trying again in %.1f s: %s", wait_s, failure)
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None, content_type: str, stream: bool
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": JSON, "Content-Type": content_type}
        for setting in self._settings.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        return self._pool.request(
            method,
            f"{self._settings.host}{path}" + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body),
            headers=headers,
            retries=False,
            preload_content=not stream,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
        )


def _error(response: urllib3.BaseHTTPResponse) -> ApiError:
    text = response.data.decode(errors="replace")
    try:
        status = json.loads(text)
        return ApiError(response.status, status.get("reason", ""), status.get("message", text))
    except (ValueError, AttributeError):  # a proxy's page
        return ApiError(response.status, "", text[:200])


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0


def _warning(header: str) -> str:
    """The text of `299 - "text"` (RFC 9111, 5.5)."""
    _, quote, text = header.partition('"')
    return text.rstrip('"').replace('\\"', '"') if quote else header
