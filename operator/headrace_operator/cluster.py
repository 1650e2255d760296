"""The Kubernetes API as the reconciler needs it: the only module that imports the Kubernetes client."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient

from headrace_api import inference_model as api
from headrace_api import names
from headrace_operator.reconcile import Refused

Object = dict[str, Any]

_COLLECTIONS = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Event": "/api/v1/namespaces/{namespace}/events",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "MutatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    api.KIND: f"/apis/{api.API_VERSION}/namespaces/{{namespace}}/{api.PLURAL}",
}
"""The paths of the kinds that the operator works with; no discovery is needed for them."""

_UNTYPED = "failed to create typed patch object"
"""How the API server says, with status 500, that an applied object has unknown fields or list items without a key."""
_TIMEOUT_SECONDS = 30.0

_REFUSALS = frozenset({400, 403, 404, 413, 422})
"""Answers that say that a write will not go through as it is; all others are worth another try."""


@asynccontextmanager
async def connect(*, in_cluster: bool) -> AsyncIterator["KubernetesCluster"]:
    """A client with the pod's service account, or outside a cluster with the user's kubeconfig."""
    configuration = client.Configuration()
    if in_cluster:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with client.ApiClient(configuration) as connection:
        yield KubernetesCluster(DynamicClient(connection))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class KubernetesCluster:
    """Writes objects with server-side apply, as one field manager."""

    requests: DynamicClient

    async def get(self, item: Object) -> Object | None:
        """The live object with the kind, namespace and name of `item`; None when there is none."""
        try:
            return await self._request("get", _path(item))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    async def apply(self, item: Object) -> Object:
        """Server-side apply; takes over fields that somebody else set. Returns the object as it is now.

        Raises:
            Refused: the API server does not accept the object.
        """
        try:
            return await self._write("patch", _path(item), item, "application/apply-patch+yaml", force_conflicts=True)
        except ApiException as error:
            if error.status in _REFUSALS or _UNTYPED in _message(error):
                raise Refused(f"{item['kind']} {item['metadata']['name']}: {_message(error)}") from error
            raise

    async def delete(self, item: Object) -> None:
        """Delete the object and, in the background, what it owns; nothing happens when it is gone already."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": item["metadata"]["uid"]}}
        try:
            await self._write("delete", _path(item), body)
        except ApiException as error:
            if error.status not in {404, 409}:  # 409: another object of that name has taken its place
                raise

    async def patch_status(self, model: Object, status: Object) -> Object | None:
        """Merge `status` into the model's status subresource; returns the model, None when it is gone."""
        path = f"{_path(model)}/status"
        try:
            return await self._write("patch", path, {"status": status}, "application/merge-patch+json")
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    async def annotate(self, item: Object, annotations: dict[str, str]) -> None:
        """Merge annotations into a live object, which is not taken over; nothing happens when it is gone."""
        try:
            await self._write(
                "patch", _path(item), {"metadata": {"annotations": annotations}}, "application/merge-patch+json"
            )
        except ApiException as error:
            if error.status != 404:
                raise

    async def event(self, model: Object, kind: str, reason: str, message: str) -> None:
        """Record an Event about the model; `kind` is Normal or Warning."""
        item = _event(model, kind, reason, message, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        await self._write("post", _COLLECTIONS["Event"].format(namespace=item["metadata"]["namespace"]), item)

    async def list_metadata(self, kind: str, namespace: str | None, labels: str) -> list[Object]:
        """The metadata of all objects of `kind` that the label selector `labels` picks, in one namespace or in all."""
        path = _COLLECTIONS[kind].format(namespace=namespace)
        if namespace is None:
            path = path.replace("/namespaces/None", "")
        metadata_only = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
        answer = await self._request("get", path, label_selector=labels or None, header_params=metadata_only)
        items: list[Object] = answer["items"] or []  # null when there are none
        return items

    async def _write(
        self, verb: str, path: str, body: Object, kind: str = "application/json", **options: Any
    ) -> Object:
        return await self._request(verb, path, body=body, content_type=kind, field_manager=names.MANAGED_BY, **options)

    async def _request(self, verb: str, path: str, **options: Any) -> Object:
        response = await self.requests.request(
            verb, path, serialize=False, _request_timeout=_TIMEOUT_SECONDS, **options
        )
        answer: Object = await response.json()
        return answer


def _path(item: Object) -> str:
    metadata = item["metadata"]
    return f"{_COLLECTIONS[item['kind']].format(namespace=metadata.get('namespace'))}/{metadata['name']}"


def _message(error: ApiException) -> str:
    """Return what the API server said: the message of its Status object."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _event(model: Object, kind: str, reason: str, message: str, now: str) -> Object:
    metadata = model["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": api.API_VERSION,
            "kind": api.KIND,
            **{key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
        },
        "type": kind,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": names.MANAGED_BY},
        "reportingComponent": names.MANAGED_BY,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
