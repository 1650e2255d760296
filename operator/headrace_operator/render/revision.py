"""A revision: what one generation of workers is made of, named by the hash of its content.

It is kept in a ConfigMap of its own, `<model>-<hash>`, which its pods mount: old workers keep their own files while new
ones start, and a rollback or a rendering that waits for approval has its source in the cluster. What names it never
changes in it; `model.yaml`, which no worker reads and which has the number of replicas in it, follows the spec.
"""

import copy
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from headrace_api import names
from headrace_api.convert import worker_config
from headrace_api.inference_model import InferenceModelSpec, Ray
from headrace_api.worker_config import WorkerConfig, fingerprint
from headrace_operator.remember import remembered
from headrace_operator.render import adapters, objects, ray_yaml, worker_toml
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.objects import Object
from headrace_operator.render.pod import pod_template

_NAME = re.compile(r"-([0-9a-f]{16})$")

_NOT_IN_THE_POD: Mapping[str, Any] = {
    **dict.fromkeys(("enabled", "backend", "replicas", "rollout"), True),
    "ray": set(Ray.model_fields) - {"accelerator_type"},
    "deployment": {"autoscaling", "ray_actor_options"},
    "engine": {"model_url", "model_description", "adapters"},
    "scaling": {"pg_timeout_seconds"},
}
"""Fields of the spec that change nothing in a worker's pod."""


@dataclass(frozen=True)
class Revision:
    """The worker's file and its pod template."""

    worker_file: str
    template: Object
    """Without the name of the ConfigMap, which comes from the hash."""
    spec_hash: str
    """Of the spec that it was rendered from, to tell the author's changes from the operator's; not in the name."""

    @cached_property
    def name(self) -> str:
        """16 hex digits of the hash of the content."""
        return objects.content_hash({names.CONFIG_FILE: self.worker_file, names.POD_TEMPLATE_FILE: self.template})

    def config_map_name(self, model: str) -> str:
        """The name of the ConfigMap of this revision of the model called `model`."""
        return f"{model}-{self.name}"

    @property
    def annotations(self) -> dict[str, str]:
        """What its workload is known by."""
        return {names.ANNOTATION_REVISION: self.name}

    def pod_template(self, model: str) -> Object:
        """The template with the name of its own ConfigMap in it."""
        template = copy.deepcopy(self.template)
        for volume in template["spec"].get("volumes", []):
            if "configMap" in volume and "name" not in volume["configMap"]:
                volume["configMap"]["name"] = self.config_map_name(model)
        template["metadata"].setdefault("annotations", {}).update(self.annotations)
        return template


@dataclass(frozen=True)
class Adopted:
    """Workers of a release that knew no revisions: what they are made of is known from the live workload only.

    They mount the ConfigMap that has the model's own name, which nobody writes any more.
    """

    template: Object
    """As it is live."""
    spec_hash: str
    """Of the spec when they were adopted."""

    name = ""
    worker_file = None

    @property
    def annotations(self) -> dict[str, str]:
        """What its workload is known by."""
        return {names.ANNOTATION_SPEC_HASH: self.spec_hash}

    def pod_template(self, model: str) -> Object:  # noqa: ARG002
        """The template as it is: any change of it would replace the workers."""
        return self.template


@remembered
def render(name: str, spec: InferenceModelSpec, config: RenderConfig) -> Revision:
    """The revision that the model called `name` asks for."""
    return Revision(
        worker_file=worker_file(spec, config),
        template=pod_template(spec, objects.labels(name), config),
        spec_hash=spec_hash(spec),
    )


def worker_file(spec: InferenceModelSpec, config: RenderConfig) -> str:
    """The text of worker_config.toml; adapters that change without a new revision are in a file of their own."""
    file = worker_config.from_spec(spec, config.queue_url)
    if spec.engine.adapters:
        where = {"adapters": [], "adapters_file": adapters.PATH}
        update = where if adapters.beside(spec) else {"adapters": adapters.ordered(spec)}
        file = file.model_copy(update={"generator": file.generator.model_copy(update=update)})
    return worker_toml.to_toml(file)


@remembered
def worker_hash(worker_file: str) -> str:
    """The hash of what the worker reads."""
    return objects.content_hash(worker_file)


@remembered
def worker_fingerprint(worker_file: str) -> str | None:
    """The fingerprint by which the worker registers, of its generator section; None for what this version cannot read.

    The file may be that of an older revision, which an older operator wrote.
    """
    try:
        return fingerprint(WorkerConfig.model_validate(tomllib.loads(worker_file)).generator)
    except ValueError:
        return None


@remembered
def _ray_file(spec: InferenceModelSpec) -> str:
    return ray_yaml.to_yaml(ray_yaml.document(spec))


def spec_hash(spec: InferenceModelSpec) -> str:
    """The hash of what the author asks for, as far as it reaches a pod.

    Defaults are left out, also those that are written down: a later version's new field or other default is the
    operator's doing, not the author's.
    """
    stated = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=dict(_NOT_IN_THE_POD))
    told = {name: value for name, value in stated.items() if value}
    of_revision = adapters.of_revision(spec)
    return objects.content_hash(told | ({"adapters": of_revision} if of_revision else {}))


def config_map(model: Object, spec: InferenceModelSpec, revision: Revision) -> Object:
    """The ConfigMap of a revision; its model.yaml says what the spec says now."""
    metadata = objects.metadata(model, revision.config_map_name(model["name"]))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**metadata, "annotations": {names.ANNOTATION_SPEC_HASH: revision.spec_hash}},
        "data": {
            names.CONFIG_FILE: revision.worker_file,
            names.RAY_FILE: _ray_file(spec),
            names.POD_TEMPLATE_FILE: objects.canonical(revision.template),
        },
    }


def read(config_map: Object) -> Revision | None:
    """The revision that a live ConfigMap holds; None when it holds none, or not the one that it is named by."""
    data = config_map.get("data") or {}
    found = _NAME.search(config_map["metadata"]["name"])
    annotations = config_map["metadata"].get("annotations") or {}
    try:
        template = json.loads(data[names.POD_TEMPLATE_FILE])
        revision = Revision(data[names.CONFIG_FILE], template, annotations.get(names.ANNOTATION_SPEC_HASH, ""))
    except (KeyError, ValueError):
        return None
    return revision if found and revision.name == found[1] else None
