"""The Lease in the API server: beside `headrace_operator.cluster` the only user of the Kubernetes client.

Apart from it because these writes pass the fence: whoever does not lead has to write here to begin. Plain create and
replace, with the resource version that was read, so that of two candidates only one comes through.
"""

from dataclasses import dataclass

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient

from headrace_operator.observed import Object

_API_VERSION = "coordination.k8s.io/v1"


@dataclass(frozen=True)
class LeaseStore:
    """One Lease."""

    requests: DynamicClient
    namespace: str
    name: str
    timeout_seconds: float
    """How long one request may take."""

    async def get(self) -> Object | None:
        """The Lease; None when there is none."""
        try:
            return await self._request("get", self._path)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    async def create(self, spec: Object) -> Object | None:
        """The Lease as it is now; None when somebody else has made it meanwhile."""
        metadata = {"name": self.name, "namespace": self.namespace}
        return await self._changed("post", self._collection, {"metadata": metadata, "spec": spec})

    async def replace(self, read: Object, spec: Object) -> Object | None:
        """The Lease with another spec; None when it is no longer the one that was read."""
        return await self._changed("put", self._path, {**read, "spec": spec})

    async def _changed(self, verb: str, path: str, lease: Object) -> Object | None:
        try:
            return await self._request(verb, path, body={**lease, "apiVersion": _API_VERSION, "kind": "Lease"})
        except ApiException as error:
            if error.status in {404, 409}:
                return None
            raise

    async def _request(self, verb: str, path: str, body: Object | None = None) -> Object:
        options = {} if body is None else {"body": body, "content_type": "application/json"}
        response = await self.requests.request(
            verb, path, serialize=False, _request_timeout=self.timeout_seconds, **options
        )
        answer: Object = await response.json()
        return answer

    @property
    def _collection(self) -> str:
        return f"/apis/{_API_VERSION}/namespaces/{self.namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self.name}"
