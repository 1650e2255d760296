"""The ConfigMap of a model's adapters: apart from the revision, so that a change of them restarts no worker.

Its pods mount it as optional: workers read it again and again, and take a file that is gone for one without adapters.
"""

import tomli_w

from headrace_api import names
from headrace_api import worker_config as wc
from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import objects
from headrace_operator.render.objects import Object

PATH = f"{names.ADAPTERS_FOLDER}/{names.ADAPTERS_FILE}"
"""Where the worker finds them."""


def config_map_name(model: str) -> str:
    """The name of the ConfigMap of the model called `model`."""
    return f"{model}-adapters"


def config_map(model: Object, spec: InferenceModelSpec) -> Object:
    """The ConfigMap; for a model that has adapters."""
    adapters = [wc.Adapter(name=one.name, source=one.source) for one in spec.engine.adapters]
    text = tomli_w.dumps(wc.AdaptersFile(adapters=adapters).model_dump())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": objects.metadata(model, config_map_name(model["name"])),
        "data": {names.ADAPTERS_FILE: text},
    }


def volume(spec: InferenceModelSpec, model: str) -> list[Object]:
    """The pod's volume with them, where there are any."""
    source = {"name": config_map_name(model), "optional": True}
    return [{"name": "adapters", "configMap": source}] if spec.engine.adapters else []


def mount(spec: InferenceModelSpec) -> list[Object]:
    """Where the worker's container has it."""
    one = {"name": "adapters", "mountPath": names.ADAPTERS_FOLDER, "readOnly": True}
    return [one] if spec.engine.adapters else []
