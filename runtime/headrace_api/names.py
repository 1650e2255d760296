"""Names that more than one program must agree on: labels, annotations, ports, environment variables, file names."""

LABEL_NAME = "app.kubernetes.io/name"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_MODEL = "headrace.dev/model"
"""The InferenceModel that an object belongs to."""
MANAGED_BY = "headrace-operator"
"""Value of `app.kubernetes.io/managed-by`, and the field manager of server-side apply."""

ANNOTATION_HASH = "headrace.dev/hash"
"""A child's content hash: equal content means that nothing is written."""
ANNOTATION_CONFIG_HASH = "headrace.dev/config-hash"
"""On the pod template: the hash of the rendered ConfigMap, so that a changed one rolls the pods."""

WORKER_CONTAINER = "worker"
CONFIG_FOLDER = "/etc/headrace"
CONFIG_FILE = "worker_config.toml"
RAY_FILE = "model.yaml"
ENV_QUEUE_TOKEN = "HEADRACE_QUEUE_TOKEN"  # noqa: S105
ENV_WORKER_NAME = "HEADRACE_WORKER_NAME"
ENV_GRACE_SECONDS = "HEADRACE_GRACE_SECONDS"
ENV_OPERATOR_PREFIX = "HEADRACE_OPERATOR_"
"""The operator's settings as variables of its container; `headrace diff` reads them there."""
