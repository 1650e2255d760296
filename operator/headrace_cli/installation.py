"""The installation's values, read from the operator that runs in the cluster."""

import json
from typing import Any

from pydantic import ValidationError

from headrace_api import names
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl
from headrace_operator.render.config import FROM_JSON, RenderConfig

Object = dict[str, Any]

_LABEL = f"{names.LABEL_NAME}={names.MANAGED_BY}"


def live_config(kubectl: Kubectl, namespace: str) -> RenderConfig:
    """What the operator that watches `namespace` was told.

    Raises:
        Trouble: no operator watches it, or more than one, or its settings cannot be read.
    """
    every = kubectl.get("deployments.apps", "--all-namespaces", f"--selector={_LABEL}")
    found = [(_name(one), environment) for one in every if _watches(environment := _environment(one), namespace)]
    if not found:
        there = f"; there are {', '.join(_name(one) for one in every)}" if every else f" (label {_LABEL})"
        raise Trouble(f"no headrace operator watches the namespace {namespace}{there}")
    if len(found) > 1:
        raise Trouble(f"more than one operator watches {namespace}: {', '.join(name for name, _ in found)}")
    return _config(*found[0])


def _name(deployment: Object) -> str:
    return f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"


def _environment(deployment: Object) -> dict[str, str]:
    """The operator's own variables, without the prefix, in lower case."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    variables = [variable for container in containers for variable in container.get("env", [])]
    prefix = names.ENV_OPERATOR_PREFIX
    return {
        variable["name"].removeprefix(prefix).lower(): variable.get("value", "")
        for variable in variables
        if variable["name"].startswith(prefix)
    }


def _watches(environment: dict[str, str], namespace: str) -> bool:
    watched = environment.get("namespaces", "")
    return not watched or namespace in watched.split(",")


def _config(name: str, environment: dict[str, str]) -> RenderConfig:
    given: Object = {field: environment[field] for field in RenderConfig.model_fields if field in environment}
    try:
        given |= {field: _json(name, field, given[field]) for field in FROM_JSON if field in given}
        # whether the cluster has PodMonitors is known to the operator only
        return RenderConfig.model_validate(given | {"pod_monitors": False})
    except ValidationError as error:
        lines = [f"{one['loc'][0]}: {one['msg']} (got {one['input']!r:.80})" for one in error.errors()]
        raise Trouble(
            f"the operator {name} has settings that this headrace does not read: {'; '.join(lines)}"
        ) from None


def _json(name: str, field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        variable = f"{names.ENV_OPERATOR_PREFIX}{field.upper()}"
        raise Trouble(f"the operator {name}: {variable} is not JSON: {error}") from None
