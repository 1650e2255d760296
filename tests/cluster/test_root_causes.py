"""Root causes produced for real, each by a model of its own, and read from the resource.

All models are applied at once, so that their workers fail side by side. What needs a GPU, a registry that answers or a
node that breaks is in the unit tests' table only.
"""

import base64
import struct
from collections import Counter

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.engine]

MODELS = "inferencemodels.headrace.dev"
KEPT = {"key": "headrace.dev/kept", "value": "others", "effect": "NoSchedule"}
SECONDS = 150


def text(value):
    """A string as GGUF has it."""
    return struct.pack("<Q", len(value)) + value


GGUF_OF_UNKNOWN_KIND = (
    b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + text(b"general.architecture")
    + struct.pack("<I", 8)
    + text(b"no-such-kind")
)
FILES = {"unknown.gguf": GGUF_OF_UNKNOWN_KIND, "broken.gguf": b"this is not a model"}
SIDECAR = {
    "name": "other",
    "command": ["python", "-c"],
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


def template(**spec):
    """A patch of the pod's spec."""
    return {"template": {"spec": spec}}


def worker(**container):
    """A patch of the worker's container."""
    return template(containers=[{"name": "worker", **container}])


def before(image, code, port):
    """A patch that runs Python beside the worker, which starts when that listens."""
    started = {"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 60}
    sidecar = {**SIDECAR, "restartPolicy": "Always", "image": image, "args": [code], "startupProbe": started}
    return template(initContainers=[sidecar])


def engine(**fields):
    """A patch of the engine."""
    return {"engine": fields}


def stored(file):
    """A model whose weights are a file of the ConfigMap `broken-weights`."""
    mount = {"name": "weights", "mountPath": "/weights"}
    volume = {"name": "weights", "configMap": {"name": "broken-weights"}}
    patch = template(containers=[{"name": "worker", "volumeMounts": [mount]}], volumes=[volume])
    return {**engine(hfModelId=f"/weights/{file}"), **patch}


AFFINITY = {
    "podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"no": "such-pod"}}, "topologyKey": "kubernetes.io/hostname"}
        ]
    }
}
UNFITTED = {"autoMemoryConfig": False}
MISSING_VARIABLE = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "no-such-map", "key": "a"}}}
SERVES = "import http.server; http.server.test(port={port}, HandlerClass=http.server.SimpleHTTPRequestHandler)"

CASES = {
    "NotEnoughGpus": ({"engine": {"type": "VLLMEngine"}, "scaling": {"numWorkers": 8}}, "asks for 8 nvidia.com/gpu"),
    "NotEnoughResources": ({"scaling": {"numCpusPerWorker": 1000}}, "Insufficient cpu"),
    "NoNodeMatches": (
        template(nodeSelector={"no": "such-label"}),
        "didn't match Pod's node affinity/selector",
    ),
    "UntoleratedTaint": (
        template(nodeSelector={"kubernetes.io/hostname": "headrace-2"}),
        "headrace.dev/kept=others:NoSchedule",
    ),
    "PlacementConstraint": (template(affinity=AFFINITY), "affinity rules"),
    "SchedulingGated": (template(schedulingGates=[{"name": "example.com/gate"}]), "gates"),
    "VolumeNotBound": (
        template(volumes=[{"name": "weights", "persistentVolumeClaim": {"claimName": "no-such-claim"}}]),
        'persistentvolumeclaim "no-such-claim" not found',
    ),
    "RegistryUnreachable": (worker(image="registry.invalid/no/image:1"), "registry.invalid/no/image:1"),
    "ImageNeverPulled": (worker(image="docker.io/no/image:1", imagePullPolicy="Never"), "docker.io/no/image:1"),
    "ImageNameInvalid": (worker(image="No Image"), "No Image"),
    "SecretMissing": (
        {"queue": {"tokenSecretRef": {"name": "no-such-secret", "key": "token"}}},
        'secret "no-such-secret" not found',
    ),
    "SecretKeyMissing": (
        {"queue": {"tokenSecretRef": {"name": "headrace-worker-token", "key": "no-such-key"}}},
        "couldn't find key no-such-key",
    ),
    "ConfigMapMissing": (worker(env=[MISSING_VARIABLE]), 'configmap "no-such-map" not found'),
    "PodSecurityRefused": (template(hostNetwork=True), 'violates PodSecurity "restricted:latest"'),
    "ServiceAccountMissing": (template(serviceAccountName="no-such-account"), 'serviceaccount "no-such-account"'),
    "PriorityClassMissing": (template(priorityClassName="no-such-class"), "no PriorityClass with name no-such-class"),
    "WebhookRefused": ({"template": {"metadata": {"labels": {"headrace.dev/test": "refused"}}}}, "not welcome here"),
    "QuotaExceeded": ({}, "exceeded quota: nothing"),
    "WeightsNotFound": (engine(hfModelId="/opt/headrace/models/nothing"), "/opt/headrace/models/nothing"),
    "WeightsCorrupt": (stored("broken.gguf"), "invalid magic characters"),
    "UnsupportedArchitecture": (stored("unknown.gguf"), "unknown model architecture: 'no-such-kind'"),
    "ModelDoesNotFit": (engine(maxTotalTokens=1_000_000_000), "for the KV cache of"),
    "ContextTooLong": (engine(maxTotalTokens=1_000_000_000, memory=UNFITTED), "value too large"),
    "OutOfMemory": (
        worker(resources={"limits": {"memory": "40Mi"}}) | engine(memory=UNFITTED),
        "was killed",
    ),
    "PackagesNotInstalled": (
        engine(runtimeEnv={"pip": {"packages": ["no-such-package"], "pip_install_options": ["--no-index"]}}),
        "No matching distribution found for no-such-package",
    ),
    "ConfigRefused": (engine(runtimeEnv={"conda": "environment"}), "runtime_env.conda: not accepted"),
    "FilesNotReadable": (engine(hfModelId="/root/model"), "'/root/model' cannot be read: Permission denied"),
    "EngineMissing": (
        {"engine": {"type": "VLLMEngine"}, "scaling": {"numGpusPerWorker": 0}},
        "No module named 'vllm'",
    ),
    "PortTaken": ({"monitoring": {"metricsPort": 9977}}, "cannot listen on port 9977"),
    "QueueUnreachable": ({"queue": {"url": "http://no-such-queue:8080"}}, "http://no-such-queue:8080"),
    "QueueTokenRefused": ({"queue": {"tokenSecretRef": {"name": "wrong-token", "key": "token"}}}, "status 401"),
}
"""By reason: what is changed of the sample model's spec, and what the message must name."""
STALLED = {
    *("ImageNeverPulled", "ImageNameInvalid", "SecretMissing", "SecretKeyMissing", "ConfigMapMissing"),
    *("PodSecurityRefused", "PriorityClassMissing", "WebhookRefused", "QueueTokenRefused", "WeightsNotFound"),
    *("WeightsCorrupt", "UnsupportedArchitecture", "ContextTooLong", "EngineMissing", "PortTaken"),
    *("ModelDoesNotFit", "ConfigRefused", "FilesNotReadable"),
}
"""Causes that somebody has to mend; those of them that might pass wait for a second restart."""


def policy():
    """An admission policy of somebody else, and what binds it."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    refusal = {"expression": "object.metadata.?labels['headrace.dev/test'].orValue('') != 'refused'"}
    kind = "ValidatingAdmissionPolicy"
    of = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "headrace-test"}}
    body = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{**refusal, "message": "not welcome here"}]}
    return (
        {**of, "kind": kind, "spec": body},
        {**of, "kind": f"{kind}Binding", "spec": {"policyName": "headrace-test", "validationActions": ["Deny"]}},
    )


def surroundings():
    """What the models need, or must not have."""
    weights = {name: base64.b64encode(data).decode() for name, data in FILES.items()}
    quota = {"metadata": {"name": "nothing", "namespace": "headrace-engines"}, "spec": {"hard": {"pods": "0"}}}
    return (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "broken-weights"}, "binaryData": weights},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong-token"}, "stringData": {"token": "wrong"}},
        {"apiVersion": "v1", "kind": "ResourceQuota", **quota},
        *policy(),
    )


def manifest(reason, base, image):
    """A model that fails for this reason."""
    patch = dict(CASES[reason][0])
    if reason == "PortTaken":
        patch |= before(image, SERVES.format(port=9977), 9977)
    spec = {**base["spec"], **patch, "engine": {**base["spec"]["engine"], **patch.get("engine", {})}}
    namespace = "headrace-engines" if reason == "QuotaExceeded" else "headrace"
    metadata = {"name": reason.lower(), "namespace": namespace}
    spec["queue"] = {**spec.get("queue", {}), "checkpointName": f"test/{reason}"}
    return {**base, "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def broken(kubectl_in):
    """All models, applied; gone afterwards."""
    kubectl, engines = kubectl_in("headrace"), kubectl_in("headrace-engines")
    images = kubectl.get("deployment", "headrace-operator")["spec"]["template"]["spec"]["containers"][0]["env"]
    runtime = next(one["value"] for one in images if one["name"].endswith("_IMAGES"))
    image = runtime.split('"LlamaCppEngine":"')[-1].split('"', 1)[0]
    base = {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "spec": {"engine": {}}}
    base["spec"]["engine"] = {
        "type": "LlamaCppEngine",
        "modelId": "headrace/sample-chat",
        "hfModelId": "/opt/headrace/models/sample-chat",
    }
    kubectl("taint", "--overwrite", "nodes", "headrace-2", "headrace.dev/kept=others:NoSchedule")
    try:
        kubectl.apply(*surroundings()[:2])
        engines.apply(surroundings()[2])
        kubectl.apply(*policy())
        for where in (kubectl, engines):
            where.apply(*(one for one in all_of(base, image) if one["metadata"]["namespace"] == where.namespace))
        yield kubectl
    finally:
        kubectl("taint", "nodes", "headrace-2", "headrace.dev/kept-")
        for where in (kubectl, engines):
            where("delete", MODELS, "--all", "--wait")
            where("delete", "events", "--field-selector", "involvedObject.kind=InferenceModel")
        kubectl("delete", "--ignore-not-found", "configmap/broken-weights", "secret/wrong-token")
        engines("delete", "--ignore-not-found", "resourcequota/nothing")
        kubectl.run("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "headrace-test")


def all_of(base, image):
    return [manifest(reason, base, image) for reason in CASES]


@pytest.mark.parametrize("reason", CASES)
def test_the_cause_is_on_the_resource(broken, kubectl_in, wait_for, reason):
    kubectl = kubectl_in("headrace-engines") if reason == "QuotaExceeded" else broken
    conditions = {}

    def said():
        status = kubectl.get(MODELS, reason.lower()).get("status", {})
        conditions.update({one["type"]: one for one in status.get("conditions", [])})
        ready = conditions.get("Ready", {})
        return ready if ready.get("reason") == reason else None

    try:
        ready = wait_for(reason, said, SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}: {conditions.get('Ready')}") from None
    assert ready["status"] == "False"
    assert CASES[reason][1] in ready["message"]
    assert "To mend it: " in ready["message"]
    stalled = conditions["Stalled"]["status"] == "True"
    assert stalled or reason not in STALLED
    assert (conditions["Reconciling"]["status"] == "True") != stalled


def test_no_event_is_repeated_with_each_attempt(broken, quiet_seconds):
    quiet_seconds(20)  # several attempts of every container that fails
    found = Counter(
        (one["involvedObject"]["name"], one["reason"])
        for one in broken.items("events")
        if one["involvedObject"]["kind"] == "InferenceModel"
    )
    assert len(found) >= len(CASES)
    assert {key: count for key, count in found.items() if count > 1} == {}
