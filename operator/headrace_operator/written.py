"""The operator's own last writes, until the watches tell of them.

A reconcile that runs before its predecessor's writes have come back would write and report them a second time. This is
a memory of convenience: when it is lost, with the process, the next reconcile writes the same things again.
"""

from dataclasses import replace

from headrace_api import names
from headrace_operator.observed import Confirmed, Key, Object, Observed, version


class Written:
    """What the API server answered to the last writes for each model."""

    def __init__(self) -> None:
        self._models: dict[Key, Object] = {}
        self._confirmed: dict[Key, dict[str, Confirmed]] = {}

    def applied(self, key: Key, rendered: Object, answer: Object) -> None:
        """A child was applied; `answer` is what it is now."""
        metadata = answer["metadata"]
        content_hash = rendered["metadata"]["annotations"][names.ANNOTATION_HASH]
        confirmed = Confirmed(content_hash, metadata.get("generation"), metadata["resourceVersion"])
        self._confirmed.setdefault(key, {})[metadata["uid"]] = confirmed

    def reported(self, key: Key, answer: Object) -> None:
        """The model's status was written; `answer` is what the model is now."""
        metadata = {name: answer["metadata"][name] for name in ("uid", "resourceVersion")}
        self._models[key] = {"metadata": metadata, "status": answer.get("status")}

    def overlay(self, key: Key, observed: Observed) -> Observed:
        """What was observed, with the status that was written if the watch has not told of it yet."""
        model, written = observed.model, self._models.get(key)
        if written and written["metadata"]["uid"] == model["metadata"]["uid"] and version(model) < version(written):
            model = {**model, "status": written["status"]}
        else:
            self._models.pop(key, None)
        return replace(observed, model=model, confirmed=dict(self._confirmed.get(key, {})))

    def forget(self, key: Key) -> None:
        """The model is gone."""
        self._models.pop(key, None)
        self._confirmed.pop(key, None)
