"""The sample model as a manifest: what the demo applies and the cluster tests start from."""

from setup import install

MODEL = {
    "apiVersion": "headrace.dev/v1alpha1",
    "kind": "InferenceModel",
    "metadata": {"name": "sample-chat", "namespace": install.NAMESPACE},
    "spec": {
        "engine": {
            "type": "LlamaCppEngine",
            "modelId": "headrace/sample-chat",
            "hfModelId": "/opt/headrace/models/sample-chat",
        }
    },
}
