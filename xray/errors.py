"""The one exception that stands for bad input, so that entries can tell it from a defect."""


class InputError(ValueError):
    """Input that cannot be used. The message is one line: the file, the value, what was expected."""
