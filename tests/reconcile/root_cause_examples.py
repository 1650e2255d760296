"""One or more real texts for each rule of the root causes' table, and what the message must say.

`where` says how a text was come by: run (a real worker with a real engine, here), cluster (a real API server, scheduler
and kubelet), source (the engine's or Kubernetes' source, or a public report: no GPU, registry or broken node here).
"""

from dataclasses import dataclass
from typing import Any, Literal

Object = dict[str, Any]
Where = Literal["run", "cluster", "source"]
EXITED = "the engine exited with status 1 before it was ready\n"


@dataclass(frozen=True)
class Example:
    """What a pod, or the Deployment, says, and the reason that it is to be given."""

    reason: str
    item: Object
    words: tuple[str, ...]
    where: Where
    of_deployment: bool = False


def pod(name: str = "sample-1", devices: Object | None = None, **status: Any) -> Object:
    """A worker's pod."""
    container = {"name": "worker", "image": "runtime:1", "resources": {"limits": devices or {}}}
    spec = {"nodeName": "node-2", "containers": [container]}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


def worker(**status: Any) -> Object:
    """The worker's container status."""
    return {"name": "worker", "image": "runtime:1", "ready": False, "restartCount": 0, "state": {}, **status}


def ended(message: str, code: int = 1, restarts: int = 0, reason: str = "Error") -> Object:
    """A pod whose worker has ended."""
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return pod(phase="Running", containerStatuses=[worker(state=state, restartCount=restarts)])


def waiting(reason: str, message: str) -> Object:
    """A pod whose worker cannot run."""
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(phase="Pending", containerStatuses=[worker(state=state)])


def unscheduled(message: str, condition_reason: str = "Unschedulable", devices: Object | None = None) -> Object:
    """A pod without a node."""
    condition = {"type": "PodScheduled", "status": "False", "reason": condition_reason, "message": message}
    item = pod(devices=devices, phase="Pending", conditions=[condition])
    del item["spec"]["nodeName"]
    return item


def failed(reason: str, message: str) -> Object:
    """A pod that its node turned away."""
    return pod(phase="Failed", reason=reason, message=message)


def refused(message: str) -> Object:
    """A Deployment whose pods are not let in."""
    return {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}}


def engine(reason: str, error: str, *words: str, where: Where = "source", after: str = "") -> Example:
    """An engine that ended with an error, as the worker writes it down."""
    message = f"{EXITED}{error}\nlast lines:\n{after or error}"
    return Example(reason, ended(message), ("worker sample-1 exited 1: ", *words), where)


def log(reason: str, line: str, *words: str, code: int = 2, where: Where = "run") -> Example:
    """A worker that wrote no termination message: the kubelet takes the end of its log."""
    return Example(reason, ended(line, code), words, where)


def image(reason: str, kind: str, message: str, *words: str, where: Where = "source") -> Example:
    """An image that cannot be pulled."""
    return Example(reason, waiting(kind, message), ("image runtime:1 of worker sample-1", *words), where)


def start(reason: str, kind: str, message: str, *words: str, where: Where = "cluster") -> Example:
    """A container that cannot be started."""
    return Example(
        reason, waiting(kind, message), ("container worker of worker sample-1 cannot be started", *words), where
    )


def scheduling(reason: str, message: str, *words: str, where: Where = "cluster", **more: Any) -> Example:
    """What the scheduler says."""
    return Example(reason, unscheduled(message, **more), ("worker sample-1", *words), where)


def refusal(reason: str, message: str, *words: str, where: Where = "cluster") -> Example:
    """What the API server says of pods that it does not let in."""
    return Example(reason, refused(message), ("the API server refuses", *words), where, of_deployment=True)


_PULL = 'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/headrace/none:1": '
_PREEMPTION = " preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."
_SILENT = [
    {"type": "Ready", "status": "False"},
    {"type": "ContainersReady", "status": "True"},
]

NODES = (
    Example("NodeLost", pod(conditions=_SILENT), ("node node-2 does not answer", "sample-1"), "cluster"),
    Example(
        "Evicted",
        failed("Evicted", "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 0."),
        ("turned away by node node-2", "low on resource: ephemeral-storage"),
        "source",
    ),
    Example(
        "Evicted",
        failed("Evicted", 'Usage of EmptyDir volume "full" exceeds the limit "1Mi". '),
        ('EmptyDir volume "full" exceeds',),
        "cluster",
    ),
    Example(
        "GpuAllocationFailed",
        failed(
            "UnexpectedAdmissionError",
            "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. Requested: 2, "
            "Available: 1, which is unexpected",
        ),
        ("Requested: 2, Available: 1", "node-2"),
        "source",
    ),
    Example(
        "NodeRefused",
        failed("OutOfnvidia.com/gpu", "Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 8"),
        ("requested: 1, used: 8",),
        "source",
    ),
)

REFUSALS = (
    refusal(
        "QuotaExceeded",
        'pods "sample-7c-" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8, used: '
        "requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=4",
        "requested: requests.nvidia.com/gpu=8",
        "limited: requests.nvidia.com/gpu=4",
    ),
    refusal(
        "PodSecurityRefused",
        'pods "sample-7c-" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)',
        "hostNetwork=true",
    ),
    refusal(
        "WebhookRefused",
        'admission webhook "validate.kyverno.svc-fail" denied the request: images must be signed',
        "images must be signed",
        where="source",
    ),
    refusal(
        "WebhookRefused",
        "pods \"a-\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not welcome here",
        "not welcome here",
    ),
    refusal(
        "WebhookUnreachable",
        'Internal error occurred: failed calling webhook "x.example.com": failed to call webhook: Post '
        '"https://x.svc": '
        "dial tcp 10.0.0.7:443: connect: connection refused",
        "x.example.com",
        where="source",
    ),
    refusal(
        "ServiceAccountMissing",
        'pods "sample-7c-" is forbidden: error looking up service account models/absent: serviceaccount '
        '"absent" not found',
        "models/absent",
    ),
    refusal(
        "PriorityClassMissing",
        'pods "sample-7c-" is forbidden: no PriorityClass with name urgent was found',
        "urgent",
    ),
    refusal("PodsRefused", 'Pod "sample-7c-x" is invalid: spec.containers[0].image: Required value', "Required value"),
)

IMAGES = (
    image(
        "ImageNotFound",
        "ErrImagePull",
        f'{_PULL}failed to resolve reference "docker.io/headrace/none:1": docker.io/headrace/none:1: not found',
        "cannot be pulled: failed to resolve reference",
    ),
    image(
        "ImageNotFound",
        "ImagePullBackOff",
        f'Back-off pulling image "docker.io/headrace/none:1": ErrImagePull: {_PULL}failed to resolve reference '
        '"docker.io/headrace/none:1": docker.io/headrace/none:1: not found',
        "cannot be pulled: failed to resolve reference",
    ),
    image(
        "ImageUnauthorized",
        "ErrImagePull",
        f"{_PULL}pull access denied, repository does not exist or may require authorization: server message: "
        "insufficient_scope: authorization failed",
        "pull access denied",
    ),
    image("ImageUnauthorized", "ErrImagePull", "unexpected status from HEAD request: 401 Unauthorized", "401"),
    image(
        "ImageNeverPulled",
        "ErrImageNeverPull",
        'Container image "runtime:1" is not present with pull policy of Never',
        "pull policy of Never",
        where="cluster",
    ),
    image(
        "ImageNameInvalid",
        "InvalidImageName",
        'Failed to apply default image tag "No Image": couldn\'t parse image name "No Image": invalid reference format',
        "No Image",
        where="cluster",
    ),
    image(
        "RegistryUnreachable",
        "ErrImagePull",
        f'{_PULL}failed to do request: Head "https://registry.invalid/v2/a": dial tcp: lookup '
        "registry.invalid: no such host",
        "lookup registry.invalid",
        where="cluster",
    ),
    image("ImageNotAvailable", "ImagePullBackOff", 'Back-off pulling image "runtime:1"', "ImagePullBackOff"),
)

CONTAINERS = (
    start("SecretMissing", "CreateContainerConfigError", 'secret "worker-token" not found', "worker-token"),
    start("SecretMissing", "CreateContainerConfigError", 'secret "model-sources" not found', "model-sources"),
    start(
        "SecretKeyMissing",
        "CreateContainerConfigError",
        "couldn't find key token in Secret models/worker-token",
        "key token in Secret models/worker-token",
    ),
    start("ConfigMapMissing", "CreateContainerConfigError", 'configmap "settings" not found', "settings"),
    start(
        "RunsAsRoot",
        "CreateContainerConfigError",
        'container has runAsNonRoot and image will run as root (pod: "sample-1", container: worker)',
        "will run as root",
        where="source",
    ),
    start(
        "ContainerConfigError",
        "CreateContainerError",
        "failed to create containerd container: mount point is not absolute",
        "not absolute",
        where="source",
    ),
)

SCHEDULING = (
    scheduling(
        "NotEnoughGpus",
        "0/5 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 "
        f"Insufficient nvidia.com/gpu, 2 node(s) didn't match Pod's node affinity/selector.{_PREEMPTION}",
        "asks for 8 nvidia.com/gpu; 2 of 5 nodes would do but have too few free, the other 3 would not do",
        devices={"nvidia.com/gpu": "8"},
    ),
    scheduling(
        "NotEnoughGpus",
        "0/1 nodes are available: 1 Insufficient nvidia.com/mig-1g.10gb. no new claims to deallocate, preemption: 0/1 "
        "nodes are available: 1 No preemption victims found for incoming pod.",
        "asks for 2 nvidia.com/mig-1g.10gb; 1 of 1 nodes",
        devices={"nvidia.com/mig-1g.10gb": 2},
    ),
    scheduling(
        "NotEnoughResources",
        f"0/2 nodes are available: 2 Insufficient cpu, 1 Insufficient memory.{_PREEMPTION}",
        "2 Insufficient cpu",
    ),
    scheduling(
        "NoNodeMatches",
        f"0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.{_PREEMPTION}",
        "2 node(s) didn't match",
    ),
    scheduling(
        "UntoleratedTaint",
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated "
        "taint(s). no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for "
        "scheduling.",
        "1 node(s) had untolerated taint(s). To mend it",
    ),
    scheduling(
        "UntoleratedTaint",
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint "
        f"{{headrace.dev/kept: others}}.{_PREEMPTION}",
        "{headrace.dev/kept: others}",
        where="source",
    ),
    scheduling(
        "NodesNotReady",
        "0/2 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 1 node(s) were "
        f"unschedulable.{_PREEMPTION}",
        "node.kubernetes.io/unreachable",
        where="source",
    ),
    scheduling(
        "VolumeNotBound",
        '0/2 nodes are available: persistentvolumeclaim "weights" not found. not found',
        '"weights" not found',
    ),
    scheduling(
        "VolumeNotBound",
        f"0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.{_PREEMPTION}",
        "unbound",
        where="source",
    ),
    scheduling(
        "VolumeElsewhere",
        f"0/2 nodes are available: 2 node(s) had volume node affinity conflict.{_PREEMPTION}",
        "conflict",
        where="source",
    ),
    scheduling(
        "PlacementConstraint",
        f"0/2 nodes are available: 2 node(s) didn't match pod affinity rules.{_PREEMPTION}",
        "pod affinity rules",
    ),
    scheduling(
        "PlacementConstraint",
        f"0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.{_PREEMPTION}",
        "spread",
        where="source",
    ),
    scheduling(
        "ResourceClaimPending",
        f"0/2 nodes are available: 2 cannot allocate all claims.{_PREEMPTION}",
        "claims",
        where="source",
    ),
    scheduling(
        "SchedulingGated",
        "Scheduling is blocked due to non-empty scheduling gates",
        "waits to be let in",
        condition_reason="SchedulingGated",
    ),
    scheduling("Unschedulable", "0/2 nodes are available: 2 node(s) are haunted.", "haunted", where="source"),
)

EXAMPLES = (*NODES, *REFUSALS, *IMAGES, *CONTAINERS, *SCHEDULING)
