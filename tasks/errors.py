"""Errors that a user of equilens.tasks can meet."""


class TaskError(Exception):
    """Base of all errors raised by equilens.tasks."""


class UsageError(TaskError):
    """A command line that can not be meant: the command ends with exit code 2."""
