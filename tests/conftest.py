"""What all tests share."""

from hypothesis import settings

# how long one example takes says something of the machine, not of the code
settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")
