"""Luigi, as equilens runs it: in this process, one task after another, failures raised."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

with warnings.catch_warnings():
    # Luigi warns at import unless a configuration file says what to do with tasks that we do not
    # use; an import that needs a file or the environment would be worse
    warnings.simplefilter("ignore", DeprecationWarning)
    import luigi

from luigi.parameter import ParameterVisibility
from luigi.task_register import Register

from equilens.tasks.errors import TaskError

Advance = Callable[[int], None]

__all__ = ["Advance", "ObjectParameter", "ProductTask", "RemadeTask", "luigi", "run_tasks"]


class ObjectParameter(luigi.Parameter[Any]):
    """A Python object that changes nothing in what a task makes, such as a progress bar."""

    def __init__(self, default: Any = None) -> None:
        private = ParameterVisibility.PRIVATE
        super().__init__(default=default, significant=False, visibility=private)


class ProductTask(luigi.Task):
    """Makes one store or report: reads, calls one function, and writes atomically.

    A finished product is left alone, unless `replace` asks for it anew. Subclasses implement
    `output` and `make`; whoever builds a graph says what has to be there `after` which.
    """

    replace = luigi.BoolParameter(default=False, significant=False)
    after = ObjectParameter(default=())
    made = False
    failure: BaseException | None = None

    def requires(self) -> tuple[luigi.Task, ...]:
        """The tasks that come first."""
        return self.after

    def complete(self) -> bool:
        """Whether the product is there, and is not asked for anew."""
        return self.made or (not self.replace and super().complete())

    def make(self) -> None:
        """Make the product."""
        raise NotImplementedError

    def run(self) -> None:
        """Luigi's entry point."""
        self.make()
        self.made = True

    def on_failure(self, exception: BaseException) -> str:
        """Keep what went wrong, so that `run_tasks` can raise it."""
        self.failure = exception
        return super().on_failure(exception)


class RemadeTask(ProductTask):
    """Makes its product in every run, once: what lies there can be of other inputs or options."""

    def complete(self) -> bool:
        """Whether this very run made it."""
        return self.made


def run_tasks(tasks: Sequence[luigi.Task], log_level: str = "CRITICAL") -> None:
    """Run tasks and all that they need, in this process.

    Raises
    ------
    BaseException
        What the first failed task raised.
    TaskError
        Luigi could not run everything, for another reason.
    """
    try:
        # one worker runs tasks in this very process: a fork would break a Dask client
        result = luigi.build(
            list(tasks), local_scheduler=True, workers=1, detailed_summary=True, log_level=log_level
        )
        for task in _with_requirements(tasks):
            if task.failure is not None:
                raise task.failure
        if result.status not in (
            luigi.LuigiStatusCode.SUCCESS,
            luigi.LuigiStatusCode.SUCCESS_WITH_RETRY,
        ):
            raise TaskError(f"not every task could be run: {result.summary_text.strip()}")
    finally:
        # equal parameters give the same instance, and an instance remembers that it ran
        Register.clear_instance_cache()


def _with_requirements(tasks: Sequence[Any]) -> Iterator[ProductTask]:
    """Tasks after what they require, so that the first failure comes first."""
    for task in tasks:
        yield from _with_requirements(task.deps())
        yield task
