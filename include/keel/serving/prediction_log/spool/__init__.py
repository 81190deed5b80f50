"""The spool: a durable log on the local disk for records on their way to the store."""

from keel.serving.prediction_log.spool.chain import Batch
from keel.serving.prediction_log.spool.spool import MAX_BYTES, SEGMENT_BYTES, Spool
from keel.serving.prediction_log.spool.state import Damage, Durability, Stats

__all__ = ["MAX_BYTES", "SEGMENT_BYTES", "Batch", "Damage", "Durability", "Spool", "Stats"]
