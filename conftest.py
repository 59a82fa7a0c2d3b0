"""For our own tests only: they run pytest inside pytest."""

pytest_plugins = ["pytester"]
