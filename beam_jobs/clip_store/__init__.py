# SPDX-License-Identifier: Apache-2.0
"""Reading the clips of a checked dataset, wherever it lies: the one place that knows how.

Local files are read as they lie. Of an object store, what is read once is streamed, single clips are fetched by their place in
the shard, which its index says, and what training reads again and again is kept in a bounded scratch folder. Either way each byte
is held against a checksum: a whole file against its SHA-256, a single record against its own CRC-32C. Crops are read by position
from files whose SHA-256 was checked before (`beam_jobs.located`).
"""

from beam_jobs.clip_store.reference import ClipsReference, read_reference, write_reference
from beam_jobs.clip_store.store import ClipsError, ClipStore, read_index, stream_shard

__all__ = ["ClipStore", "ClipsError", "ClipsReference", "read_index", "read_reference", "stream_shard", "write_reference"]
