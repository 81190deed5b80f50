"""Commands that show what the checks have found."""
