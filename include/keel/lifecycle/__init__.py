"""The life of a version: trained, compared, deployed, recorded."""
