"""Champion against challenger on rows that neither has seen."""
