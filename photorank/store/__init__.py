"""The feature store: durable, append-only, readable by others' tools.

`FeatureStore` is the way in; it hands out one `Space` per fingerprint. Importing this, opening a store, reading its
tables, asking what is missing and loading vectors take only numpy and pyarrow; zarr is imported when a segment is
written.

Format 1, on the disk (every Parquet file is sealed, see `sealed.py`; names that start with "." are nobody's data):

    STORE/photorank.json                 {"format": 1}
    STORE/{photos,files,failures}/
        <segment>.parquet                rows of one batch (columns: `tables.py`); its metadata names what it `replaces`
        .<segment>.mark                  empty, made just before that file is put in place: a mark alone tells of a loss
        .<segment>.replaced              a file that another one replaced
    STORE/spaces/<name>@<fingerprint>/
        vectors/zarr.json                Zarr v3 group; attributes spec, role, provenance, dim, dtype, and their digest
        vectors/<segment>/               Zarr v3 array (rows, dim): chunks `c.<number>.0` of bytes + crc32c
        commits/<segment>.parquet        the commit: key per row, sha256 of every file of the segment (`commits.py`)
        commits/.<segment>.tmp           is there while the segment is being written, and becomes the record
        commits/.<segment>.replaced      the record of a segment that another one replaced, until `gc`
        commits/.<segment>.gone          is there while the segment is being deleted
    STORE/.lock                          held while something is compacted or deleted

A segment's id sorts by creation. Of two rows for one key the one in the smallest id counts (photos too); of two rows
for one path, or failure of a path and extractor, the last written. A segment that another record `replaces` is not
seen; one that was merged has the id after its first part's, so that the same rows count (a table of which the last
rows count: after its last part's). A record may have no rows, and then it has no array.
"""

from photorank.store.feature_store import FORMAT, FeatureStore
from photorank.store.identity import canonical_json, fingerprint
from photorank.store.keys import KEY_BYTES, KeyArray, KeyIndex, Keys, KeySet, as_keys, keys_from_arrow
from photorank.store.removal import Removed
from photorank.store.space import Space
from photorank.store.tables import FailureRow, FileRow, PhotoRow

__all__ = [
    "FORMAT",
    "KEY_BYTES",
    "FailureRow",
    "FeatureStore",
    "FileRow",
    "KeyArray",
    "KeyIndex",
    "KeySet",
    "Keys",
    "PhotoRow",
    "Removed",
    "Space",
    "as_keys",
    "canonical_json",
    "fingerprint",
    "keys_from_arrow",
]
