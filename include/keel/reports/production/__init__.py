"""The pages of what runs in production: an experiment, and the probation of a version."""
