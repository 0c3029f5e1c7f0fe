"""Manifests against KubeRay's own schemas, Kubernetes', and what Ray's autoscaler and launcher make of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.manifests import Kind, Options, manifest, named
from operators.errors import UserError

ROOT = Path(__file__).parents[2]
CRDS = ROOT.parent / "shared" / "crds"
JOB = (ROOT / "examples" / "nightly.yaml").read_text() + "# $5 <cluster>: 'quoted'\n"
OPTIONS = Options("example.org/latentmill:1", workers=5, gpus=2, service_account="mill", schedule="15 3 * * 1-5")

in_kubernetes = pytest.mark.parametrize("kind", [kind for kind in Kind if not kind.startswith("launcher")])
launchers = pytest.mark.parametrize("kind", [kind for kind in Kind if kind.startswith("launcher")])


def made(kind: Kind, options: Options = OPTIONS) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifest(kind, "Cats to dogs", JOB, options)))


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A CRD's schema in which a field that it doesn't know is a mistake, as it is to `kubectl apply`."""
    if "properties" in schema:
        known = {name: strict(each) for name, each in schema["properties"].items()}
        return {**schema, "properties": known, "additionalProperties": False}
    if isinstance(schema.get("items"), dict):
        return {**schema, "items": strict(schema["items"])}
    if isinstance(schema.get("additionalProperties"), dict):
        return {**schema, "additionalProperties": strict(schema["additionalProperties"])}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    return schema


@cache
def crd(kind: str, version: str) -> jsonschema.Draft202012Validator:
    definition = yaml.load((CRDS / f"ray.io_{kind.lower()}s.yaml").read_text(), yaml.CSafeLoader)
    (found,) = (each for each in definition["spec"]["versions"] if each["name"] == version)
    schema = strict(found["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.skipif(not CRDS.exists(), reason=f"KubeRay's CRDs are not in {CRDS}")
@in_kubernetes
def test_rays_resources_are_as_kuberay_wants_them(kind: Kind) -> None:
    found = [each for each in made(kind) if each["apiVersion"].startswith("ray.io")]
    assert len(found) == 1
    for resource in found:
        schema = crd(resource["kind"], resource["apiVersion"].removeprefix("ray.io/"))
        schema.validate(resource)
        for path in (("spec",), ("spec", *cluster_at(resource), "workerGroupSpecs", 0, "template", "spec")):
            with pytest.raises(jsonschema.ValidationError, match="'misspelt' was unexpected"):
                schema.validate(changed(resource, path))


@in_kubernetes
def test_all_else_and_every_pod_is_as_kubernetes_wants_it(kind: Kind) -> None:
    for resource in made(kind):
        if not resource["apiVersion"].startswith("ray.io"):
            kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
            continue
        for group in (cluster(resource)["headGroupSpec"], *cluster(resource)["workerGroupSpecs"]):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": group["template"]["spec"]}
            kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@in_kubernetes
def test_the_job_comes_as_it_is_and_pods_find_it(kind: Kind) -> None:
    config, ray = made(kind)[:2]
    assert config["data"]["job.yaml"] == JOB
    (container,) = cluster(ray)["headGroupSpec"]["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    (volume,) = cluster(ray)["headGroupSpec"]["template"]["spec"]["volumes"]
    assert mount == {"name": volume["name"], "mountPath": "/etc/latentmill"}
    assert volume["configMap"]["name"] == config["metadata"]["name"] == "cats-to-dogs"


@in_kubernetes
def test_rays_autoscaler_takes_it_for_none_to_so_many_gpu_workers(kind: Kind) -> None:
    ray = {"metadata": {"name": "one", "namespace": "here"}, "spec": cluster(made(kind)[1])}
    config = _derive_autoscaling_config_from_ray_cr(ray)
    types = config["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 4
    assert types["headgroup"]["resources"].get("GPU", 0) == 0
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"]) == (0, 5)
    assert (types["gpu"]["resources"]["CPU"], types["gpu"]["resources"]["GPU"]) == (7, 2)
    validate_config(config)


@launchers
def test_rays_launcher_takes_it(kind: Kind) -> None:
    (config,) = made(kind)
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError, match="'misspelt' was unexpected"):
        validate_config(prepare_config({**config, "misspelt": 1}))
    worker = config["available_node_types"]["gpu"]
    assert (worker["min_workers"], worker["max_workers"], config["max_workers"]) == (0, 5, 5)
    assert "mill" in str(worker["node_config"])


def test_schedules() -> None:
    assert made(Kind.RAYCRONJOB)[1]["spec"]["schedule"] == "15 3 * * 1-5"
    assert made(Kind.CRONJOB)[2]["spec"]["schedule"] == "15 3 * * 1-5"
    assert made(Kind.CRONJOB, Options("a", schedule="@daily"))[2]["spec"]["schedule"] == "@daily"
    with pytest.raises(UserError, match=r"'every night' is no schedule; it has five fields, as in '0 2 \* \* \*'"):
        manifest(Kind.RAYCRONJOB, "a", JOB, Options("a", schedule="every night"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cats to dogs!", "cats-to-dogs"),
        ("2026", "job-2026"),
        ("a_b.c", "a-b-c"),
        ("x" * 60, "x" * 40),
        ("y" * 39 + "-z", "y" * 39),
        ("…", "job"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert named(name) == expected


def cluster_at(resource: dict[str, Any]) -> tuple[str, ...]:
    return {"RayJob": ("rayClusterSpec",), "RayCronJob": ("jobTemplate", "rayClusterSpec")}.get(resource["kind"], ())


def cluster(resource: dict[str, Any]) -> dict[str, Any]:
    found = resource["spec"]
    for key in cluster_at(resource):
        found = found[key]
    return dict(found)


def changed(resource: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    copy = yaml.safe_load(yaml.safe_dump(resource))
    at = copy
    for key in path:
        at = at[key]
    at["misspelt"] = 1
    return dict(copy)
