"""Rules about the kind of accelerator that a model asks for, and about other resources of its pods."""

from collections.abc import Iterator

from headrace_api.accelerators import EXTENDED, GPU_RESOURCE, asked, extended, find, kind_of, normal
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at

_RESOURCES = at("scaling.resourcesPerWorker")


def _one_kind(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    (first, *others) = [*asked(spec).items()] or [((), "")]
    for path, name in others:
        if normal(name) != normal(first[1]):
            message = f"asks for {name!r:.80}, and {first[0][-1]!s:.80} for {first[1]!r:.80}"
            yield Finding("HR112", "error", path, message, "keep one: a pod is on one kind of node")


def _is_offered(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    if not facts.accelerators:
        return
    for path, name in asked(spec).items():
        if find(facts.accelerators, name) is None:
            accepted = ", ".join(sorted(facts.accelerators))
            message = f"this installation has no accelerator profile {normal(name)!r:.80}; accepted: {accepted}"
            hint = "name one of these, or add the profile to runtime.accelerators in the chart's values"
            yield Finding("HR113", "error", path, message, hint)


def _no_profiles(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    if facts.accelerators is None or facts.accelerators:
        return
    for path, name in asked(spec).items():
        message = f"{name!r:.80} is not looked for: this installation has no accelerator profiles, any GPU will do"
        hint = "add profiles to runtime.accelerators in the chart's values, or set a nodeSelector in spec.template"
        yield Finding("HR119", "warning", path, message, hint)


def _slices_work_alone(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    profile = facts.profile(spec)
    if profile and profile.divided and spec.uses_gpus and spec.gpu_share > 1:
        message = f"{spec.gpu_share:g} units of {profile.resource_name} cannot exchange data as whole GPUs do"
        hint = "set it to 1 and leave out data_parallel_size, or pick a profile of whole GPUs"
        yield Finding("HR117", "warning", at("scaling.numWorkers"), message, hint)


def _whole_extended_resources(spec: InferenceModelSpec, facts: Facts) -> Iterator[Finding]:
    profile = facts.profile(spec)
    gpu = profile.resource_name if profile else GPU_RESOURCE
    for name, amount in extended(spec).items():
        path = (*_RESOURCES, name)
        if not EXTENDED.fullmatch(name):
            message, hint = "is no name of an extended resource", "write DOMAIN/NAME, such as rdma/hca"
            yield Finding("HR118", "error", path, message, hint)
        elif amount != amount // 1:
            message = f"{amount:g} is no whole number, and Kubernetes does not divide extended resources"
            yield Finding("HR118", "error", path, message, "write a whole number")
        elif name == gpu and spec.uses_gpus:
            message = "numGpusPerWorker asks for the same resource"
            yield Finding("HR118", "error", path, message, "leave it out")


def _other_resources(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    names = [name for name in spec.scaling.resources_per_worker if "/" not in name and kind_of(name) is None]
    if names:
        message = f"{', '.join(names)} is kept, but only Ray knows a resource of such a name"
        hint = "write accelerator_type_NAME for an accelerator profile, DOMAIN/NAME for an extended resource"
        yield Finding("HR911", "warning", _RESOURCES, message, hint)


RULES = (
    Rule("HR112", "error", "resourcesPerWorker and ray.acceleratorType name one kind of accelerator", _one_kind),
    Rule("HR113", "error", "the accelerator is one that the installation has a profile of", _is_offered),
    Rule("HR117", "warning", "MIG slices and shares of a GPU work alone", _slices_work_alone),
    Rule(
        "HR118",
        "error",
        "extended resources in resourcesPerWorker are whole numbers of others than the GPUs",
        _whole_extended_resources,
    ),
    Rule("HR119", "warning", "an accelerator is named where the installation has profiles", _no_profiles),
    Rule("HR911", "warning", "resources that only Ray knows are kept in scaling.resourcesPerWorker", _other_resources),
)
