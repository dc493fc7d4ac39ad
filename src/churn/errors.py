"""The errors that a user can cause or has to act on. Each carries one line and an exit code."""


class UserError(Exception):
    """Something a user can mend: its text says what was wrong, with the value, and what to do."""

    exit_code = 1


class Refused(UserError):
    """A move that the project's rules do not allow, such as promoting what failed its gate."""


class UsageError(UserError):
    """A command was called with words that it does not take."""

    exit_code = 2


class Unreachable(UserError):
    """The MLflow server does not answer, or something else answers in its place."""

    exit_code = 3


class SettingsError(UserError):
    """A setting that is missing, misspelt or not allowed."""
