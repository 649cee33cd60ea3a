"""The error for input that cannot be used."""


class InputError(ValueError):
    """Invalid user input. The message states where it is, the value received and the value expected."""
