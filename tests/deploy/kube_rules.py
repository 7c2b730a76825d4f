"""What the tests' API server refuses, and in which words: those of a Kubernetes 1.36 control plane (golden/)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema
import kubernetes_validate

Object = dict[str, Any]
GROUPS = {"jobs": "batch", "cronjobs": "batch", "deployments": "apps"}
VERSION = "1.36"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_UNKNOWN = re.compile(r"Additional properties are not allowed \('([^']+)' was unexpected\)")


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after_s = retry_after_s

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }

    @classmethod
    def not_found(cls, resource: str, name: str) -> Refused:
        return cls(404, "NotFound", f'{qualified(resource)} "{name}" not found')

    @classmethod
    def exists(cls, resource: str, name: str) -> Refused:
        return cls(409, "AlreadyExists", f'{qualified(resource)} "{name}" already exists')

    @classmethod
    def conflict(cls, resource: str, name: str) -> Refused:
        return cls(
            409, "Conflict",
            f'Operation cannot be fulfilled on {qualified(resource)} "{name}": the object has been modified; please '
            "apply your changes to the latest version and try again",
        )  # fmt: skip

    @classmethod
    def expired(cls, since: int, oldest: int) -> Refused:
        return cls(410, "Expired", f"too old resource version: {since} ({oldest})")

    @classmethod
    def unauthorized(cls) -> Refused:
        return cls(401, "Unauthorized", "Unauthorized")


def qualified(resource: str) -> str:
    return f"{resource}.{GROUPS[resource]}" if resource in GROUPS else resource


def authorize(rules: Sequence[Object], user: str, verb: str, resource: str, name: str, subresource: str = "") -> None:
    """Raises Refused unless a rule of the Role allows it. `name` of a list or watch is its metadata.name selector."""
    full = f"{resource}/{subresource}" if subresource else resource
    group = GROUPS.get(resource, "")
    for rule in rules:
        names = rule.get("resourceNames", [])
        if (
            group in rule["apiGroups"]
            and full in rule["resources"]
            and verb in rule["verbs"]
            and (not names or name in names)
        ):
            return
    what = qualified(resource) + (f' "{name}"' if name and verb not in ("list", "watch", "create") else "")
    raise Refused(
        403, "Forbidden",
        f'{what} is forbidden: User "{user}" cannot {verb} resource "{full}" in API group "{group}" in the namespace '
        '"rlhf"',
    )  # fmt: skip


def admit(item: Object, *, strict: bool) -> tuple[str, ...]:
    """What the server says about an object that it accepts. Raises Refused for one that it does not."""
    kind, name = item["kind"], item["metadata"]["name"]
    warnings = []
    if unknown := _unknown_field(item):
        if strict:
            version = item["apiVersion"].rpartition("/")[2]
            raise Refused(
                400, "BadRequest",
                f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: unknown field '
                f'"{unknown}"',
            )  # fmt: skip
        warnings.append(f'unknown field "{unknown}"')
    if kind == "Job":
        _check_job(item, name)
        warnings += _pod_security(item["spec"]["template"]["spec"])
    return tuple(warnings)


def _unknown_field(item: Object) -> str:
    try:
        kubernetes_validate.validate(item, VERSION, strict=True)
    except jsonschema.ValidationError as error:
        match = _UNKNOWN.search(error.message)
        if match is None:
            raise Refused(422, "Invalid", error.message) from error
        return ".".join([*map(str, error.absolute_path), match[1]])
    return ""


def _check_job(job: Object, name: str) -> None:
    if job["spec"]["template"]["spec"].get("restartPolicy") not in ("OnFailure", "Never"):
        raise Refused(
            422, "Invalid",
            f'Job.batch "{name}" is invalid: spec.template.spec.restartPolicy: Required value: valid values: '
            '"OnFailure", "Never"',
        )  # fmt: skip
    if not _NAME.fullmatch(name):
        raise Refused(422, "Invalid", f'Job.batch "{name}" is invalid: metadata.name: Invalid value: "{name}"')


def _pod_security(spec: Mapping[str, Any]) -> list[str]:
    """A Job whose pods the namespace will not admit is created all the same."""
    context = spec.get("securityContext", {})
    wrong = []
    if not context.get("runAsNonRoot"):
        wrong.append("runAsNonRoot != true")
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        wrong.append("seccompProfile")
    return [f'would violate PodSecurity "restricted:latest": {", ".join(wrong)}'] if wrong else []
