"""Draw charts as SVG by hand, and as PNG for mails."""
