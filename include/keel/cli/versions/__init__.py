"""``keel versions``: the commands that show versions, and those that change them."""
