"""Names that more than one program must agree on: labels, annotations, ports, environment variables, file names."""

LABEL_NAME = "app.kubernetes.io/name"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_MODEL = "headrace.dev/model"
"""The InferenceModel that an object belongs to."""
MANAGED_BY = "headrace-operator"
"""Value of `app.kubernetes.io/managed-by`, and the field manager of server-side apply."""

ANNOTATION_HASH = "headrace.dev/hash"
"""A child's content hash: equal content means that nothing is written."""
ANNOTATION_SPEC_HASH = "headrace.dev/spec-hash"
"""On a revision: the hash of the spec that it was rendered from, to tell the author's changes from the operator's.

On a workload of a release that knew no revisions: the same of what it runs.
"""
ANNOTATION_REVISION = "headrace.dev/revision"
"""On the workload and its pods: the revision, named by the hash of its content."""
ANNOTATION_FAILED_ROLLOUT = "headrace.dev/failed-rollout"
"""On the workload: the revision that failed, what was asked for then, and why, as JSON."""
ANNOTATION_APPROVE_RENDER = "headrace.dev/approve-render"
"""On the model, by people: the pending revision that may replace the workers."""
ANNOTATION_CRD_VERSION = "headrace.dev/crd-version"
"""On the CRD: the version of Headrace that it is of, by which an earlier release knows not to take it back."""

ANNOTATION_ADMIN_KEY = "headrace.dev/admin-key-secret"
"""On the Service of a queue's admin port: SECRET/KEY, where the key is that lets people manage keys."""

WORKER_CONTAINER = "worker"
CONFIG_FOLDER = "/etc/headrace"
CONFIG_FILE = "worker_config.toml"
ADAPTERS_FOLDER = "/etc/headrace-adapters"
ADAPTERS_FILE = "adapters.toml"
RAY_FILE = "model.yaml"
POD_TEMPLATE_FILE = "pod_template.json"
ENV_QUEUE_TOKEN = "HEADRACE_QUEUE_TOKEN"  # noqa: S105
ENV_WORKER_NAME = "HEADRACE_WORKER_NAME"
ENV_GRACE_SECONDS = "HEADRACE_GRACE_SECONDS"
ENV_OPERATOR_PREFIX = "HEADRACE_OPERATOR_"
"""The operator's settings as variables of its container; `headrace diff` reads them there."""

HINT = "To mend it: "
"""In the messages of conditions: between a root cause and what to do about it."""
