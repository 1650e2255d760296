"""The workers' ServiceAccount: an identity for clouds to bind rights to, without a token for the Kubernetes API."""

from headrace_operator.render import objects
from headrace_operator.render.objects import Object


def service_account(model: Object) -> Object:
    """No token is mounted: workers talk to the queue and to model sources only."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": objects.metadata(model),
        "automountServiceAccountToken": False,
    }
