"""The exceptions that entries show as one line, so that they can be told from a defect."""


class InputError(ValueError):
    """Input that cannot be used. The message is one line: the file, the value, what was expected."""


class RunError(RuntimeError):
    """A run that cannot go on though its input was good: a full disk, a loss that is not a number, a lost worker."""
