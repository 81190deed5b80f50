"""Two versions side by side on live requests: what was fixed beforehand, and what a look shows."""
