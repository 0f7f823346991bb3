"""Settings that all tests share."""

from hypothesis import settings

settings.register_profile("l0quad", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("l0quad")
