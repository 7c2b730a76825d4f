"""Every object is what the API servers of the supported Kubernetes versions accept, to the last field."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from manifests import DEPLOY, Object, named, overlay

VERSIONS = ("1.34", "1.35", "1.36", "1.37")
CRD_SCHEMAS = Path(__file__).parents[3] / "shared" / "k8s" / "crd-schemas"


@cache
def crd_schema(kind: str, api_version: str) -> Any:
    """The schema of a custom resource. Fails when there is none: a kind that nothing checks must not slip in."""
    if not CRD_SCHEMAS.is_dir():
        pytest.skip("the schemas of custom resources are not beside this checkout")
    path = CRD_SCHEMAS / f"{kind.lower()}-{api_version.replace('/', '-')}.json"
    # Go's regular expressions take a flag after the anchor, Python's do not.
    return json.loads(path.read_text().replace("^(?i)", "(?i)^"))


def check(item: Object, version: str) -> None:
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        jsonschema.Draft202012Validator(crd_schema(item["kind"], item["apiVersion"])).validate(item)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(objects: tuple[Object, ...], version: str) -> None:
    assert len(objects) > 20
    for item in objects:
        check(item, version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "path", sorted(DEPLOY.glob("cluster/*.yaml")) + sorted(DEPLOY.glob("examples/*.yaml")), ids=lambda path: path.name
)
def test_what_is_applied_by_hand_is_valid(path: Path, version: str) -> None:
    for item in yaml.safe_load_all(path.read_text()):
        check(item, version)


def test_a_wrong_field_would_be_found() -> None:
    policy = copy.deepcopy(named(overlay("prod"), "Deployment", "policy"))
    policy["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessprobe"):
        check(policy, VERSIONS[0])


def test_a_wrong_field_of_a_custom_resource_would_be_found() -> None:
    scaled = copy.deepcopy(named(overlay("prod"), "ScaledObject", "policy"))
    scaled["spec"]["minReplicas"] = 2
    with pytest.raises(jsonschema.ValidationError, match="minReplicas"):
        check(scaled, VERSIONS[0])
