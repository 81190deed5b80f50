"""Measure latency, throughput and memory of versions."""
