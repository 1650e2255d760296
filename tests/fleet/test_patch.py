"""`spec.template` against the real API server: what `kubectl patch --type=strategic` makes of the same pod template."""

import json

import pytest
from tests import plane as planes

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import patch as merging
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.patch import strategic_merge

pytestmark = pytest.mark.cluster  # the API server is one of the cluster's programs

CONFIG = RenderConfig(
    queue_url="http://q",
    images={"VLLMEngine": "docker.io/example/vllm:1"},
    accelerators={
        "a10": {
            "nodeSelector": {"gpu": "a10", "zone": "a"},
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
                }
            },
        }
    },
)
SPEC = {
    "engine": {"type": "VLLMEngine", "modelId": "org/model"},
    "scaling": {
        "resourcesPerWorker": {"accelerator_type_a10": 1},
        "placementStrategy": "SPREAD",
        "numCpusPerWorker": 2,
    },
}


def worker(**fields):
    return {"spec": {"containers": [{"name": "worker", **fields}]}}


TERM = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
SELECTOR = {"matchLabels": {"a": "b"}}
PATCHES = {
    "labels": {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "gpus"}, "annotations": {"example.com/a": "b"}}},
    "node-selector": {"spec": {"nodeSelector": {"zone": None, "disk": "fast"}}},
    "affinity": {
        "spec": {
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}},
                "podAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": SELECTOR}}
                    ]
                },
            }
        }
    },
    "no-affinity": {"spec": {"affinity": {"nodeAffinity": None}, "topologySpreadConstraints": None}},
    "another-affinity": {"spec": {"affinity": {"$patch": "replace", "podAntiAffinity": {}}}},
    "spread-over-zones": {
        "spec": {
            "topologySpreadConstraints": [
                {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECTOR}
            ]
        }
    },
    "spread-over-hosts": {
        "spec": {
            "topologySpreadConstraints": [
                {"topologyKey": "kubernetes.io/hostname", "maxSkew": 2, "nodeTaintsPolicy": "Honor"},
            ]
        }
    },
    "spread-over-nothing-else": {
        "spec": {
            "topologySpreadConstraints": [
                {"$patch": "replace"},
                {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECTOR},
            ]
        }
    },
    "no-spread-over-hosts": {
        "spec": {"topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "$patch": "delete"}]}
    },
    "claims": {
        "spec": {
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
            **worker(resources={"claims": [{"name": "gpu"}]})["spec"],
        }
    },
    "classes": {
        "spec": {
            "priorityClassName": "serving",
            "runtimeClassName": "nvidia",
            "schedulerName": "volcano",
            "schedulingGates": [{"name": "example.com/wait"}],
            "imagePullSecrets": [{"name": "registry"}],
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["models"]}],
            "readinessGates": [{"conditionType": "example.com/ready"}],
        }
    },
    "environment": worker(
        env=[
            {"name": "LOG_LEVEL", "value": "DEBUG"},
            {"name": "NCCL_DEBUG", "value": "INFO"},
            {"name": "HEADRACE_GRACE_SECONDS", "$patch": "delete"},
        ],
        envFrom=[{"secretRef": {"name": "more"}}],
    ),
    "resources": worker(resources={"requests": {"cpu": None, "memory": "8Gi"}, "limits": {"memory": "64Gi"}}),
    "container": worker(
        args=["--other"],
        ports=[{"containerPort": 4000, "name": "numbers"}, {"containerPort": 9, "name": "more"}],
        securityContext={"$patch": "replace", "runAsNonRoot": True},
        livenessProbe=None,
        readinessProbe={"httpGet": None, "tcpSocket": {"port": 4000}},
        lifecycle={"preStop": {"exec": {"command": ["true"]}}},
    ),
    "sidecars": {
        "spec": {
            "containers": [{"name": "other", "image": "docker.io/example/other:1"}],
            "initContainers": [{"name": "fetch", "image": "docker.io/example/fetch:1", "restartPolicy": "Always"}],
        }
    },
    "volumes": {
        "spec": {
            "volumes": [
                {"name": "shm", "emptyDir": {"sizeLimit": "8Gi"}},
                {"name": "cache", "emptyDir": None, "persistentVolumeClaim": {"claimName": "models"}},
                {"name": "tmp", "$retainKeys": ["name", "ephemeral"], "ephemeral": {"volumeClaimTemplate": {"spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
                {"name": "weights", "hostPath": {"path": "/weights"}},
            ],
            **worker(volumeMounts=[
                {"name": "weights", "mountPath": "/weights", "readOnly": True},
                {"name": "shm", "mountPath": "/dev/shm", "readOnly": True},
            ])["spec"],
        }
    },
    "security": {"spec": {"securityContext": {"fsGroup": 1, "supplementalGroups": [44], "seccompProfile": None}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def plane():
    with planes.running(crd=False) as found:
        yield found


@pytest.fixture(scope="module")
def workload():
    spec = InferenceModelSpec.model_validate(SPEC)
    found = children({"name": "m", "namespace": "default", "uid": "u"}, spec, CONFIG)
    (deployment,) = [item for item in found if item["kind"] == "Deployment"]
    return deployment


def named(workload, name, template):
    metadata = {"name": name, "namespace": "default"}
    return {**workload, "metadata": metadata, "spec": {**workload["spec"], "template": template}}


def unordered(value, field=""):
    """The lists whose elements have keys, by these keys."""
    if isinstance(value, dict):
        return {name: unordered(item, name) for name, item in value.items()}
    if isinstance(value, list) and (key := merging._MERGE_KEYS.get(field)):
        return {item[key]: unordered(item) for item in value}
    return [unordered(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", PATCHES)
def test_a_template_is_merged_as_the_api_server_merges_it(plane, workload, name):
    template, patch = workload["spec"]["template"], PATCHES[name]
    plane.kubectl("create", "-f", "-", stdin=json.dumps(named(workload, name, template)))
    change = json.dumps({"spec": {"template": patch}})
    patched = json.loads(plane.kubectl("patch", f"deployment/{name}", "--type=strategic", "-p", change, "-o", "json"))
    own = named(workload, f"{name}-own", strategic_merge(template, patch))
    ours = json.loads(plane.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(own)))
    assert unordered(ours["spec"]["template"]) == unordered(patched["spec"]["template"])
    assert patched["spec"]["template"] != template


def test_a_volume_gets_another_source_without_naming_the_old_one(plane, workload):
    template = workload["spec"]["template"]
    patch = {"spec": {"volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "models"}}]}}
    own = named(workload, "claimed", strategic_merge(template, patch))
    made = json.loads(plane.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(own)))
    volumes = {one["name"]: one for one in made["spec"]["template"]["spec"]["volumes"]}
    assert volumes["cache"] == {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}}
    assert "emptyDir" in volumes["tmp"]


def test_tolerations_are_added_where_kubernetes_replaces_them(workload):
    gpu = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
    longer = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 9,
    }
    merged = strategic_merge(workload["spec"]["template"], {"spec": {"tolerations": [gpu, longer]}})
    assert [(one["key"], one.get("tolerationSeconds")) for one in merged["spec"]["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 30),
        ("gpu", None),
        ("node.kubernetes.io/unreachable", 9),
    ]
    only = strategic_merge(workload["spec"]["template"], {"spec": {"tolerations": [{"$patch": "replace"}, gpu]}})
    assert only["spec"]["tolerations"] == [gpu]


def test_the_merge_keys_are_those_of_the_api_server(plane):
    definitions = json.loads(plane.kubectl("get", "--raw", "/openapi/v2"))["definitions"]
    lists = dict(_lists(definitions, "io.k8s.api.core.v1.PodTemplateSpec", set()))
    merged = {field: key for (field, key), strategies in lists.items() if "merge" in strategies}
    assert {field: key for field, key in merged.items() if key} == merging._MERGE_KEYS
    assert {field for field, key in merged.items() if not key} == merging._UNIONS
    plain = {field for (field, _), strategies in lists.items() if "merge" not in strategies}
    assert not plain & merged.keys()
    assert "tolerations" in plain


def _lists(definitions, name, seen):
    """Every list below a type: its field and merge key, and how it is patched."""
    if name in seen:
        return
    seen.add(name)
    for field, schema in definitions[name].get("properties", {}).items():
        if schema.get("type") == "array":
            strategies = schema.get("x-kubernetes-patch-strategy", "").split(",")
            yield (field, schema.get("x-kubernetes-patch-merge-key")), strategies
        inner = schema.get("items", schema.get("additionalProperties", schema))
        if reference := inner.get("$ref"):
            yield from _lists(definitions, reference.rsplit("/", 1)[-1], seen)
