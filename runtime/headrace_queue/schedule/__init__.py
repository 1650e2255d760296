"""Which waiting request goes to which worker: decisions only, with no clock, socket or task.

`core` is its door. `shares` says which request is next (fair shares between keys, priorities), `workforce` which worker
takes it, `ranking` is the structure that keeps both at O(log n) a decision.
"""

from headrace_queue.schedule.core import AGEING_SECONDS, SLACK_REQUESTS, Schedule

__all__ = ["AGEING_SECONDS", "SLACK_REQUESTS", "Schedule"]
