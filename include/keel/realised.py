"""Performance as it was realised: hourly sums of labelled predictions, which outlive the rows, and what they show."""
