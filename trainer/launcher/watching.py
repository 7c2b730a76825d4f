"""One object, as it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .cluster import ApiError, Cluster, Object

WINDOW_S = 30
GONE = 410


def versions(
    cluster: Cluster, group: str, resource: str, name: str, window_s: int = WINDOW_S
) -> Iterator[Object | None]:
    """Every version of an object from now on, some of them twice; None while there is no such object.

    Lists, then watches from there; lists again when the server has forgotten that point (410) or ended the watch,
    which it does without a word. So a change that a broken watch missed is seen at the next listing.
    """
    path, selector = cluster.path(group, resource), f"metadata.name={name}"
    while True:
        listing = cluster.get(path, fieldSelector=selector)
        yield listing["items"][0] if listing["items"] else None
        try:
            yield from _changes(cluster, path, selector, listing["metadata"]["resourceVersion"], window_s)
        except ApiError as error:
            if error.status != GONE:
                raise


def _changes(cluster: Cluster, path: str, selector: str, since: str, window_s: int) -> Iterator[Object | None]:
    lines = cluster.lines(
        path,
        watch="1",
        fieldSelector=selector,
        resourceVersion=since,
        timeoutSeconds=str(window_s),
        allowWatchBookmarks="true",
    )
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            return  # cut off in the middle
        if event["type"] == "ERROR":
            status = event["object"]
            raise ApiError(status.get("code", 0), status.get("reason", ""), status.get("message", ""))
        if event["type"] != "BOOKMARK":
            yield None if event["type"] == "DELETED" else event["object"]
