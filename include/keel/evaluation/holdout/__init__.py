"""Compare champion and challenger on labelled rows that neither was trained on."""
