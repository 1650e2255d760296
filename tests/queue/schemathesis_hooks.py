"""For schemathesis: half of the requests with a model's name have that of a model that there is.

And what is good of a wish is one that can be met: of a worker that there is, and not at once.
"""

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
def map_headers(_context: schemathesis.HookContext, headers: Any) -> Any:
    if not isinstance(headers, dict):
        return headers
    return {name: _MET[name] if name in _MET and _is_good(name, value) else value for name, value in headers.items()}


_MET = {TAGS: "t", HOSTING: "cloud", DEADLINE.decode(): "60"}


def _is_good(name: str, value: Any) -> bool:
    said = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    try:
        if name == DEADLINE.decode():
            with_wishes(Call("", "m", "", b""), None, said.encode())
        else:
            read_needs(said if name == TAGS else "", said if name == HOSTING else "")
    except ApiError:
        return False
    return True
