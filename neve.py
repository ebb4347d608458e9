"""The one program."""


def main() -> int:
    return 0
