"""From what a source knows to what it found: one module a source, each with a function that returns an observation.

    check        the reports of a window, and what the check led to
    outcome      a request, a probation, an experiment
    reconciled   changes outside Keel, and records that could not be stored
    failure      a run that failed, and one that works again
    approval     a question to a person, and its answer

They are pure: they read no store and no clock. What an observation does to alerts is `keel.alerts.door`'s.
"""
