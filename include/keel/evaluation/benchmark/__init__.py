"""Latency, throughput and memory of versions."""
