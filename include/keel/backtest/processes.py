"""Run several policies at the same time, each in a process of its own: MLflow knows only one registry in a process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, NamedTuple

from keel.backtest.policy_run import Folder, run_policy, steps_done
from keel.errors import BacktestFailed, KeelError

if TYPE_CHECKING:
    from keel.backtest.plan import Plan
    from keel.backtest.policies import Policy

THREADS = "OMP_NUM_THREADS"
"""The variable by which scikit-learn knows how many threads a training may use."""
SECONDS = 1.0
"""Between two reports of how far the policies are."""


class _Running(NamedTuple):
    policy: str
    process: BaseProcess
    answer: Connection


def run_in_processes(
    plan: Plan, policies: Sequence[Policy], folder: Folder, jobs: int, report: Callable[[str], None]
) -> None:
    """Run policies to their end, at most ``jobs`` at a time.

    Raises
    ------
    BacktestFailed
        One of them failed. The others are stopped, and go on when the backtest is run again.

    """
    waiting, running = list(policies), dict[int, _Running]()
    shown = ""
    threads = max(1, (os.cpu_count() or 1) // min(jobs, len(policies)))
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                started = _start(plan, waiting.pop(0), folder, threads)
                running[started.process.sentinel] = started
            wait(list(running), timeout=SECONDS)
            for sentinel in [each for each, known in running.items() if not known.process.is_alive()]:
                _finish(running.pop(sentinel))
            now = ", ".join(f"{policy.name} {steps_done(folder.of(plan, policy))}" for policy in policies)
            if now != shown:
                report(f"steps of {len(plan.steps)}: {now}")
                shown = now
    finally:
        for each in running.values():
            each.process.terminate()
            each.process.join()


def _start(plan: Plan, policy: Policy, folder: Folder, threads: int) -> _Running:
    # not a fork: threads of Arrow and MLflow may hold locks
    context = multiprocessing.get_context("spawn")
    answer, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(plan, policy, folder, threads, theirs))
    process.start()
    theirs.close()
    return _Running(policy.name, process, answer)


def _finish(ended: _Running) -> None:
    """Raise `BacktestFailed` with what an ended process says, if it did not reach its end."""
    ended.process.join()
    if not ended.process.exitcode:
        return
    message, exit_code = f"its process ended with {ended.process.exitcode}; run the same command again to go on", 3
    with suppress(EOFError):  # it was killed
        message, exit_code = ended.answer.recv()
    raise BacktestFailed(f"policy {ended.policy}: {message}", exit_code)


def _run(plan: Plan, policy: Policy, folder: Folder, threads: int, answer: Connection) -> None:
    """Run a policy in this new process, which answers with the message of an error, as not every one can be pickled."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers it
    # Estimators with more threads than processors wait for each other. They read this when they are imported.
    os.environ.setdefault(THREADS, str(threads))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_policy(plan, policy, folder)
    except KeelError as error:
        answer.send((str(error), error.exit_code))
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    """End this process with its parent, also when that is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
