"""Pods whose containers cannot run, or that their nodes threw out. Texts of kubelet 1.34 and containerd 1.7."""

import re
from functools import partial

from headrace_operator.root_cause.evidence import Evidence, Waiting, lost
from headrace_operator.root_cause.rule import Lasting, Rule, line_of, shorten

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_WRAPPING = re.compile(
    r'^(?:Back-off pulling image "[^"]*"(?:: )?|ErrImagePull: |rpc error: code = \w+ desc = '
    r'|failed to pull and unpack image "[^"]*": )+'
)
"""What changes between a failed pull and the pause after it, while the cause stays the same."""
_UNREACHABLE = r"dial tcp|i/o timeout|no such host|connection refused|TLS handshake|EOF|50[0234] |429 Too Many"


def _pull(pattern: str, evidence: Evidence) -> str | None:
    for waiting in evidence.waiting:
        said = _WRAPPING.sub("", waiting.message)
        if waiting.reason in _PULL and re.search(pattern, f"{waiting.reason} {said}"):
            return (
                f"image {waiting.image} of worker {evidence.worker} cannot be pulled: {shorten(said or waiting.reason)}"
            )
    return None


def _image(reason: str, pattern: str, meaning: str, hint: str, lasting: Lasting = "stays") -> Rule:
    return Rule(reason, "images", meaning, hint, partial(_pull, pattern), lasting)


def _refused(pattern: str, evidence: Evidence) -> str | None:
    for waiting in evidence.waiting:
        if waiting.reason in _CONFIG and re.search(pattern, waiting.message):
            return _cannot_start(waiting, evidence)
    return None


def _cannot_start(waiting: Waiting, evidence: Evidence) -> str:
    said = shorten(waiting.message) or waiting.reason
    return f"container {waiting.container} of worker {evidence.worker} cannot be started: {said}"


def _container(reason: str, pattern: str, meaning: str, hint: str) -> Rule:
    return Rule(reason, "containers", meaning, hint, partial(_refused, pattern))


def _node_lost(evidence: Evidence) -> str | None:
    if not evidence.pod or not lost(evidence.pod):
        return None
    return f"node {evidence.node} does not answer, worker {evidence.worker} on it is given up and replaced elsewhere"


def _failed(reasons: str, evidence: Evidence) -> str | None:
    status = evidence.status
    if status.get("phase") != "Failed" or not re.fullmatch(reasons, status.get("reason", "")):
        return None
    said = shorten(status.get("message", "")) or status.get("reason", "")
    return f"worker {evidence.worker} was turned away by node {evidence.node}: {said}"


def _devices(evidence: Evidence) -> str | None:
    said = evidence.status.get("message", "")
    found = line_of(re.compile(r"Allocate failed due to|requested number of devices unavailable"), said)
    return _failed("UnexpectedAdmissionError", evidence) if found else None


NODE_LOST = Rule(
    "NodeLost",
    "nodes",
    "A worker's node has stopped answering; the worker is replaced on another one.",
    "look at the node; with no other node free, bring it back",
    _node_lost,
    "passes",
)

RULES = (
    _container(
        "SecretMissing",
        r'secrets? "[^"]*" not found',
        "A Secret that the worker's environment comes from is not there: the queue's token, or keys for weights.",
        "create the Secret in the model's namespace (the chart does so with the token in the namespaces of "
        "operator.namespaces), or correct spec.queue.tokenSecretRef or spec.engine.credentialsSecretRef",
    ),
    _container(
        "SecretKeyMissing",
        r"couldn't find key \S+ in Secret",
        "The Secret is there, but not the key that the worker's environment asks for.",
        "add the key to the Secret, or correct the key in spec.queue.tokenSecretRef",
    ),
    _container(
        "ConfigMapMissing",
        r'configmaps? "[^"]*" not found|couldn\'t find key \S+ in ConfigMap',
        "A ConfigMap, or a key of it, that spec.template takes the environment from is not there.",
        "create it in the model's namespace, or correct spec.template",
    ),
    _container(
        "RunsAsRoot",
        r"runAsNonRoot and image|non-numeric user",
        "The image wants to run as root, which the pod's security context forbids.",
        "use an image with a numeric user, or set runAsUser in spec.template",
    ),
    Rule(
        "ContainerConfigError",
        "containers",
        "The kubelet or the container runtime cannot start a container.",
        "correct what the message names, mostly in spec.template",
        partial(_refused, ""),
        fallback=True,
    ),
    _image(
        "ImageNeverPulled",
        r"ErrImageNeverPull|pull policy of Never",
        "The image is not on the node, and the pull policy forbids fetching it.",
        "put the image on the node, or set image.pullPolicy: IfNotPresent in the chart's values",
    ),
    _image(
        "ImageUnauthorized",
        r"(?i)unauthorized|authorization failed|authentication required|access denied|403 Forbidden|no basic auth",
        "The registry does not let the node have the image, or denies that it exists.",
        "correct the image's name, or give imagePullSecrets in the chart's values or in spec.template",
    ),
    _image(
        "ImageNotFound",
        r"not found|manifest unknown|does not exist(?! or may)|no match for platform",
        "The registry has no such image, tag or platform.",
        "correct runtime.images in the chart's values, or push the image",
    ),
    _image(
        "ImageNameInvalid",
        r"InvalidImageName|couldn't parse image name|invalid reference format",
        "The image's name cannot be read.",
        "correct runtime.images in the chart's values, or spec.template",
    ),
    _image(
        "RegistryUnreachable",
        _UNREACHABLE,
        "The node cannot reach the registry, or it fails.",
        "check the node's way to the registry; the pull is tried again",
        "passes",
    ),
    Rule(
        "ImageNotAvailable",
        "images",
        "The image cannot be pulled.",
        "see what the kubelet says; kubectl describe pod has all of it",
        partial(_pull, ""),
        fallback=True,
    ),
)

TURNED_AWAY = (
    Rule(
        "GpuAllocationFailed",
        "nodes",
        "The node's device plugin could not give the worker its GPUs: one has failed, or is counted twice.",
        "look at the node's GPUs and its device plugin; drain the node if it comes again",
        _devices,
        "passes",
    ),
    Rule(
        "Evicted",
        "nodes",
        "The node ran out of disk or memory and threw the worker out; another one is made.",
        "ask for enough memory and ephemeral-storage in spec.template, or put the weights on a volume",
        partial(_failed, "Evicted"),
        "passes",
    ),
    Rule(
        "NodeRefused",
        "nodes",
        "The kubelet did not take the worker although the scheduler had sent it.",
        "look at the node (kubectl describe node); another worker is made",
        partial(_failed, r"OutOf\S+|NodeAffinity|NodeShutdown|Terminated|UnexpectedAdmissionError|NodePorts"),
        "passes",
        fallback=True,
    ),
)
