"""Pure functions of numbers: drift measures, performance metrics, sequential tests. No input or output, no clock."""
