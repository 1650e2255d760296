"""For schemathesis: half of the requests with a model's name have that of a model that there is.

And a question about usage that should be answered is one that can be: the document cannot say that its days are in
order, nor which `after` there is.
"""

import base64
import json
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


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]) -> None:
    if case.path != "/v1/usage" or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if "start" in case.query:
        case.query["start"] = min(case.query["start"], case.query.get("end", "2026-01-01"))
    if "after" in case.query:
        groups = case.query.get("group_by", ["day", "key", "model"])
        groups = groups.split(",") if isinstance(groups, str) else groups
        seen = ["2026-01-01" if name == "day" else "m" for name in groups]
        case.query["after"] = base64.urlsafe_b64encode(json.dumps(seen).encode()).decode()
