"""What all tests share."""

import gc

from hypothesis import settings

# how long one example takes says something of the machine, not of the code
settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")


def pytest_collection_finish() -> None:
    gc.freeze()  # what was imported and collected stays to the end: going through it again and again takes seconds
