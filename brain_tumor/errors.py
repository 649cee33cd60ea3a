"""The error for invalid user input."""


class InputError(ValueError):
    """Invalid user input. The message states where it is, the value received and the value expected."""
