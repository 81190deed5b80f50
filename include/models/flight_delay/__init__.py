"""The example model: the probability that a flight from New York arrives more than 15 minutes late."""
