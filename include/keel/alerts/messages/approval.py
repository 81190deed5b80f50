"""The message that asks people to approve a promotion, and the one that says what was answered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keel.alerts.messages.base import known, message, owner
from keel.alerts.messages.words import NOTHING, current, lowered, ranked
from keel.alerts.records import Change
from keel.monitoring.performance_words import capitalised

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig

_AGAIN = "This was asked before, by a run that does not wait for the answer any more: only this link counts."


def compose_approval(
    config: ModelConfig, notice: Notice, *, question: str, body: str, answer_url: str, now: datetime
) -> Message:
    """Compose the request for an approval, or, of news that is resolved, what became of it.

    question, body: what Airflow's page shows too. answer_url: where to answer.
    """
    news = ranked(notice.news)
    policy = config.promotion
    if not current(news):
        answer = next((each.alert.resolution for each in news if each.alert.resolution), "It is not asked any more")
        return message(
            config,
            notice,
            topic="resolved",
            subject=answer.rstrip("."),
            happened=f"{capitalised(answer).rstrip('.')}.",
            todo=(f"{NOTHING}.",),
            facts=known({"Model": owner(config), "Question": question}),
            now=now,
        )
    hours = policy.approval_timeout / timedelta(hours=1)
    return message(
        config,
        notice,
        topic="approval",
        subject=lowered(question).replace(f"{config.model} ", ""),
        happened=f"A person has to decide: {lowered(question)}",
        done=(
            "The new version was compared with the one in production, and passed. It answers nothing yet.",
            *([_AGAIN] if any(each.change is Change.REMINDER for each in news) else []),
        ),
        todo=(
            "Approve or decline it in Airflow, at the link Answer.",
            f"Without an answer within {hours:g} hours, the version is not promoted.",
        ),
        facts=known(
            {
                "Model": owner(config),
                "Who may answer": ", ".join(policy.approvers) or "every user whom Airflow permits to answer",
            }
        ),
        verbatim=body.rstrip(),
        links={"Answer": answer_url},
        now=now,
    )
