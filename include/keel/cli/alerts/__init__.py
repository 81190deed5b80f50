"""``keel alerts``: the commands that show alerts, those that change them, and those that send."""
