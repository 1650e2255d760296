"""kopf's doors, thin: they keep the indices and say which model to look at. Nothing is decided here.

Only indices and raw events are used, none of kopf's create/update/delete handlers: those would put a finalizer and an
annotation on every model, so that `kubectl delete` hangs while the operator is away.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import kopf

from headrace_api import inference_model as api
from headrace_operator.observed import Key, Object
from headrace_operator.world import SeenWorld, key_of, owner_key, pod_key

_API_BACKOFFS_SECONDS = (0.5, 1.0, *([2.0] * 1800))
"""Seconds between requests to an API server that is away.

kopf's own pauses grow to over a minute, in which it does not notice that the API server is back. After an hour of this
the operator ends, and Kubernetes starts it anew.
"""

KeyOf = Callable[[Object], Key | None]

_RESOURCES: tuple[tuple[str, str, str, str, KeyOf], ...] = (
    ("models", api.GROUP, api.VERSION, api.PLURAL, key_of),
    ("config_maps", "", "v1", "configmaps", owner_key),
    ("deployments", "apps", "v1", "deployments", owner_key),
    ("pods", "", "v1", "pods", pod_key),
)
"""Index name, resource, and how to find the model that an object belongs to."""


def registry(
    world: SeenWorld, wake: Callable[[Key], None], traces: Sequence[aiohttp.TraceConfig] = ()
) -> kopf.OperatorRegistry:
    """All handlers: they fill `world` and call `wake` with the key of each model that something happened to.

    `traces` are told of kopf's own requests.
    """
    handlers = kopf.OperatorRegistry()

    def bind(settings: kopf.OperatorSettings, **kwargs: Any) -> None:
        settings.posting.enabled = False  # the operator's Events are its own
        settings.scanning.disabled = True  # watching CRDs and namespaces needs cluster-wide rights
        settings.networking.error_backoffs = _API_BACKOFFS_SECONDS
        world.bind({name: kwargs[name] for name, *_ in _RESOURCES})

    # an empty registry has no way to log in: the pod's service account first, then the user's kubeconfig
    kopf.on.login(registry=handlers, id="service-account", errors=kopf.ErrorsMode.IGNORED)(
        _traced(kopf.login_with_service_account, traces)
    )
    kopf.on.login(registry=handlers, id="kubeconfig", errors=kopf.ErrorsMode.IGNORED)(
        _traced(kopf.login_with_kubeconfig, traces)
    )
    kopf.on.startup(registry=handlers, id="bind")(bind)
    for name, group, version, plural, key in _RESOURCES:
        _watch(handlers, name, (group, version, plural), key, wake)
    return handlers


def _traced(
    login: Callable[..., kopf.ConnectionInfo | None], traces: Sequence[aiohttp.TraceConfig]
) -> Callable[..., Awaitable[kopf.AiohttpSession | None]]:
    """The login with a session as kopf would make it, and `traces` in it."""

    async def logged_in(**kwargs: Any) -> kopf.AiohttpSession | None:
        if (found := login(**kwargs)) is None:
            return None
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),
            headers=found.as_http_headers(),
            proxy=found.proxy_url,
            trust_env=found.trust_env,
            trace_configs=list(traces),
        )
        return kopf.AiohttpSession(
            server=found.server,
            priority=found.priority,
            default_namespace=found.default_namespace,
            expiration=found.expiration,
            aiohttp_session=session,
        )

    return logged_in


def _watch(
    handlers: kopf.OperatorRegistry,
    name: str,
    resource: tuple[str, str, str],
    key: KeyOf,
    wake: Callable[[Key], None],
) -> None:
    def index(body: kopf.Body, **_: Any) -> dict[Key, Object]:
        item = dict(body)
        found = key(item)
        return {} if found is None else {found: item}

    def event(body: kopf.Body, **_: Any) -> None:
        if (found := key(dict(body))) is not None:
            wake(found)

    kopf.index(*resource, registry=handlers, id=name)(index)
    kopf.on.event(*resource, registry=handlers, id=f"{name}-event")(event)
