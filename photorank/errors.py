"""Every error that photorank raises on purpose, one tree.

    PhotorankError
    ├── ConfigError        a config, an option or a combination of them is wrong
    ├── PhotoError         one photo cannot be found, read or decoded
    ├── StoreError         a feature store cannot be opened, read or written
    │   ├── MissingKeyError    keys that a space does not hold
    │   └── DamagedStoreError  bytes of a store are not those that were committed
    ├── ComparisonsError   a comparisons file is wrong
    ├── WeightsError       a model's weights are not to be had
    └── RunError           a run folder cannot be read or written

Each message is one sentence or two: the cause, then the remedy. The command line prints it and exits with 1.
"""

from __future__ import annotations


class PhotorankError(Exception):
    """Base of all errors whose message is meant for the user."""


class ConfigError(PhotorankError):
    """A config, an option or a combination of them is wrong."""


class PhotoError(PhotorankError):
    """One photo cannot be found, read or decoded."""


class StoreError(PhotorankError):
    """A feature store cannot be opened, read or written."""


class MissingKeyError(StoreError):
    """Keys were asked for that a space does not hold."""


class DamagedStoreError(StoreError):
    """Bytes of a store are not those that were committed."""


class ComparisonsError(PhotorankError):
    """A comparisons file is wrong."""


class WeightsError(PhotorankError):
    """A model's weights are not to be had."""


class RunError(PhotorankError):
    """A run folder cannot be read or written."""
