"""For schemathesis: half of the requests with a model's name have that of a model that there is.

What is good of a wish is one that can be met: of a worker that there is, and not at once.

And a question about usage that should be answered is one that can be: the document cannot say that its days are in
order, nor which `after` there is.
"""

import base64
import json
from typing import Any

import schemathesis

from headrace_queue.errors import ApiError
from headrace_queue.exchange import Call
from headrace_queue.keys.wishes import DEADLINE, with_wishes
from headrace_queue.needs import HOSTING, TAGS, read_needs


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


@schemathesis.hook
def map_headers(_context: schemathesis.HookContext, headers: Any) -> Any:
    if not isinstance(headers, dict):
        return headers
    found = {name: _MET[name] if name in _MET and _is_good(name, value) else value for name, value in headers.items()}
    found.pop("expect", None)  # sometimes made up; its 417 is right, but not what the check has a wrong request get
    return found


_MET = {TAGS: "t", HOSTING: "cloud", DEADLINE.decode(): "60"}


def _is_good(name: str, value: Any) -> bool:
    said = str(value)
    try:
        if name == DEADLINE.decode():
            with_wishes(Call("", "m", "", b""), None, said.encode())
        else:
            read_needs(said if name == TAGS else "", said if name == HOSTING else "")
    except ApiError:
        return False
    return True
