"""Two versions side by side on live requests: the plan, and what the outcomes show."""
