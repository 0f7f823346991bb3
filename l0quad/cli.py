"""The command line: ``l0quad demo`` and ``l0quad solve``."""


def main() -> int:
    """Run the command line."""
    raise NotImplementedError
