"""Everything on one machine: the servers that the demo and keel up start, and the replay of a labelled past."""
