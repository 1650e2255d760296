"""Rules about how workers are replaced."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at


def _zone_is_known(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    for index, window in enumerate(spec.rollout.maintenance_windows):
        try:
            ZoneInfo(window.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            path = at("rollout.maintenanceWindows", index, "timeZone")
            message = f"{window.time_zone!r} is no time zone of the IANA database"
            yield Finding("HR701", "error", path, message, "write one such as Europe/Berlin, or UTC")


RULES = (Rule("HR701", "error", "the time zone of a maintenance window is one of the IANA database", _zone_is_known),)
