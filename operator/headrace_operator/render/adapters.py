"""Where a model's adapters are written: beside the revision for an engine that takes them while it runs, else in it.

Beside it is a ConfigMap of its own, so that a change of them restarts no worker. Its pods mount it as optional: workers
read it again and again, and take a file that is gone for one without adapters. An engine that has only what it was
started with gets them in the worker's own file: other adapters are another revision, which replaces the workers.
"""

from typing import Any

import tomli_w

from headrace_api import names
from headrace_api import worker_config as wc
from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import objects
from headrace_operator.render.objects import Object

PATH = f"{names.ADAPTERS_FOLDER}/{names.ADAPTERS_FILE}"
"""Where the worker finds them."""
_VOLUME = "headrace-adapters"
"""Not just `adapters`: so people call the volume with the weights, which spec.template would then put in its place."""


def beside(spec: InferenceModelSpec) -> bool:
    """Whether there are adapters, and workers follow them while they run."""
    return bool(spec.engine.adapters) and spec.engine.type in wc.TAKES_ADAPTERS_WHILE_IT_RUNS


def of_revision(spec: InferenceModelSpec) -> Any:
    """What of the adapters makes another revision: whether there are any, or which they are; None without any.

    Every engine has to be started so that it takes adapters.
    """
    if beside(spec):
        return True
    return [one.model_dump() for one in ordered(spec)] or None


def ordered(spec: InferenceModelSpec) -> list[wc.Adapter]:
    """The adapters as workers read them; by name, for their order in the spec means nothing."""
    found = (wc.Adapter(name=one.name, source=one.source) for one in spec.engine.adapters)
    return sorted(found, key=lambda one: one.name)


def config_map_name(model: str) -> str:
    """The name of the ConfigMap of the model called `model`."""
    return f"{model}-adapters"


def config_map(model: Object, spec: InferenceModelSpec) -> Object:
    """The ConfigMap; for a model that has adapters beside its revision."""
    text = tomli_w.dumps(wc.AdaptersFile(adapters=ordered(spec)).model_dump())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": objects.metadata(model, config_map_name(model["name"])),
        "data": {names.ADAPTERS_FILE: text},
    }


def volume(spec: InferenceModelSpec, model: str) -> list[Object]:
    """The pod's volume with them, where they are beside the revision."""
    source = {"name": config_map_name(model), "optional": True}
    return [{"name": _VOLUME, "configMap": source}] if beside(spec) else []


def mount(spec: InferenceModelSpec) -> list[Object]:
    """Where the worker's container has it."""
    one = {"name": _VOLUME, "mountPath": names.ADAPTERS_FOLDER, "readOnly": True}
    return [one] if beside(spec) else []
