"""Names of resources: Kubernetes' DNS labels, made from file names and model ids."""

import hashlib
import re

_LIMIT = 63
"""RFC 1123: a DNS label has at most 63 characters."""
_DIGEST = 8
_SUFFIX = re.compile(r"\.(ya?ml|toml|json)$", re.IGNORECASE)


def resource_name(text: str) -> str:
    """The DNS label of a registry's file name (`<org>--<model>-<params>.yaml`) or of a model id (`org/model`).

    `meta-llama/Llama-2-7b-chat-hf` and `meta-llama--Llama-2-7b-chat-hf.yaml` give the same name.

    Raises:
        ValueError: no letter or digit of `text` can stand in a name.
    """
    base = _SUFFIX.sub("", text.rsplit("/", 1)[-1]) if _SUFFIX.search(text) else text.replace("/", "--")
    name = re.sub(r"[^a-z0-9-]+", "-", base.lower()).strip("-")
    if not name:
        raise ValueError(f"{text!r} gives no name: a resource's name has letters a-z, digits and dashes")
    return name if len(name) <= _LIMIT else _shortened(name)


def _shortened(name: str) -> str:
    """The name's beginning and a hash of all of it, so that long names which begin alike stay apart."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{name[: _LIMIT - _DIGEST - 1].rstrip('-')}-{digest}"
