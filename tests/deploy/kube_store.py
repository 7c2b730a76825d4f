"""The objects of the tests' API server: versions, generations, patches, and watches over their history."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kube_rules import Refused

Object = dict[str, Any]


@dataclass(frozen=True)
class Change:
    version: int
    kind: str  # ADDED, MODIFIED, DELETED
    resource: str
    object: Object


@dataclass
class Store:
    """What etcd and the API server know of one namespace."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    """By resource ("jobs") and name."""
    history: list[Change] = field(default_factory=list)
    version: int = 1000
    forgotten: int = 0
    """Changes up to this version can no longer be watched."""
    logs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Time and text of each line, by pod."""
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))

    def get(self, resource: str, name: str) -> Object:
        with self.changed:
            if (resource, name) not in self.objects:
                raise Refused.not_found(resource, name)
            return copy.deepcopy(self.objects[resource, name])

    def list(self, resource: str, keep: Callable[[Object], bool]) -> tuple[list[Object], int]:
        with self.changed:
            found = [item for (kind, _), item in self.objects.items() if kind == resource and keep(item)]
            return copy.deepcopy(found), self.version

    def create(self, resource: str, item: Object, *, dry_run: bool = False) -> Object:
        with self.changed:
            metadata = item["metadata"]
            if (resource, metadata["name"]) in self.objects:
                raise Refused.exists(resource, metadata["name"])
            made = copy.deepcopy(item)
            made["metadata"] |= {
                "namespace": "rlhf",
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            made.setdefault("status", {})
            return made if dry_run else self._put("ADDED", resource, made)

    def replace(self, resource: str, name: str, item: Object) -> Object:
        """A change of anything but the status. The generation counts changes of the spec."""
        with self.changed:
            old = self.get(resource, name)
            given = item["metadata"].get("resourceVersion")
            if given not in (None, old["metadata"]["resourceVersion"]):
                raise Refused.conflict(resource, name)
            new = copy.deepcopy(item) | {"status": old.get("status", {})}
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = old["metadata"]["generation"] + 1
            return self._put("MODIFIED", resource, new) if new != old else old

    def set_status(self, resource: str, name: str, status: Object) -> Object:
        """What a controller does."""
        with self.changed:
            item = self.get(resource, name)
            item["status"] = copy.deepcopy(status)
            return self._put("MODIFIED", resource, item)

    def mark_deleted(self, resource: str, name: str) -> Object:
        """Deletion in the foreground: the object stays until what belongs to it is gone."""
        with self.changed:
            item = self.get(resource, name)
            item["metadata"]["deletionTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            item["metadata"]["finalizers"] = ["foregroundDeletion"]
            item["metadata"]["generation"] += 1
            return self._put("MODIFIED", resource, item)

    def remove(self, resource: str, name: str) -> None:
        with self.changed:
            item = self.objects.pop((resource, name))
            self._note("DELETED", resource, item)

    def forget(self) -> None:
        """As etcd's compaction does every five minutes."""
        with self.changed:
            self.forgotten = self.version
            self.history.clear()

    def watch(
        self, resource: str, keep: Callable[[Object], bool], since: int, timeout_s: float, stopped: threading.Event
    ) -> Iterator[Change | None]:
        """Changes after `since`, until the time is up; now and then None, a chance to notice that nobody listens."""
        end_s = time.monotonic() + timeout_s
        with self.changed:
            if since < self.forgotten:
                raise Refused.expired(since, self.forgotten)
        while time.monotonic() < end_s and not stopped.is_set():
            with self.changed:
                fresh = [change for change in self.history if change.version > since]
                if not fresh:
                    self.changed.wait(min(0.2, max(0.0, end_s - time.monotonic())))
            for change in fresh:
                since = change.version
                if change.resource == resource and keep(change.object):
                    yield change
            yield None

    def _put(self, kind: str, resource: str, item: Object) -> Object:
        self.objects[resource, item["metadata"]["name"]] = item
        self._note(kind, resource, item)
        return copy.deepcopy(item)

    def _note(self, kind: str, resource: str, item: Object) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, kind, resource, copy.deepcopy(item)))
        self.changed.notify_all()


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge_patch(target: Any, patch: Any) -> Any:
    """As merge_patch, but lists of objects with names are merged by name, and "$patch": "delete" takes one out.

    True of containers, their env and volumes, which is what is patched here; lists of other things are replaced.
    """
    if isinstance(patch, list) and patch and all(isinstance(item, dict) and "name" in item for item in patch):
        merged = {item["name"]: item for item in target or []}
        for item in patch:
            if item.get("$patch") == "delete":
                merged.pop(item["name"], None)
            else:
                merged[item["name"]] = strategic_merge_patch(merged.get(item["name"], {}), item)
        return list(merged.values())
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = strategic_merge_patch(result.get(key), value)
    return result
