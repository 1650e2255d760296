"""For schemathesis: half of the requests with a model's name have that of a model that there is."""

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 2 and body["model"]:
        return body | {"model": "m"}
    return body


@schemathesis.hook
def map_path_parameters(_context: schemathesis.HookContext, path_parameters: Any) -> Any:
    if isinstance(path_parameters, dict) and len(str(path_parameters.get("model"))) % 2:
        return path_parameters | {"model": "org/m:a"}
    return path_parameters
