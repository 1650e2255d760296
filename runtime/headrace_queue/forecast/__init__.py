"""When a request that waits will be begun, learned from what has been: pure, with times handed in.

`coldstart` learns how long a model takes from nothing to ready, `pace` how fast its workers take requests; `core` puts
the two together.
"""

from headrace_queue.forecast.core import Forecast

__all__ = ["Forecast"]
