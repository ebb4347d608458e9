"""Errors of the lexer's floor, which knows no other's."""


class PinsInvalid(Exception):
    """What operators wrote about patterns cannot be used. `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint


class RedactionInvalid(Exception):
    """What is to be redacted cannot be. `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint
