"""What a space is: the attributes of its Zarr group, written once when the space is made and never changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from photorank.errors import DamagedStoreError, StoreError
from photorank.store.durable import make_folder, sync_folder, write_synced
from photorank.store.identity import JSONDict, canonical_json, fingerprint, plain_json, split_space_folder

ROLES = ("visual", "statistic")
DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class Group:
    """What a space's zarr.json says, and its folder's name."""

    name: str
    fingerprint: str
    spec: JSONDict
    role: str
    provenance: JSONDict
    dim: int
    dtype: str

    def zarr_json(self) -> bytes:
        """The bytes of the group's zarr.json. `digest` is the sha256 of the other attributes' canonical JSON."""
        attributes = asdict(self)
        del attributes["name"], attributes["fingerprint"]
        digest = hashlib.sha256(canonical_json(attributes)).hexdigest()
        group = {"zarr_format": 3, "node_type": "group", "attributes": plain_json({**attributes, "digest": digest})}
        return (json.dumps(group, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def check_kind(role: str, dim: int, dtype: str) -> None:
    """StoreError when no space may be like this."""
    if role not in ROLES:
        raise StoreError(f"A space's role is one of {', '.join(ROLES)}, not {role!r}.")
    if dtype not in DTYPES:
        raise StoreError(f"A space's dtype is one of {', '.join(DTYPES)}, not {dtype!r}.")
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise StoreError(f"A space's dim is a positive number, not {dim!r}.")


def read_group(folder: Path) -> Group:
    """Read what the space in the folder `<name>@<fingerprint>` is. DamagedStoreError, naming the file, when it is not
    byte for byte what was written for this name and fingerprint."""
    path = folder / "vectors" / "zarr.json"
    named = split_space_folder(folder.name)
    if named is None:
        raise StoreError(f"{folder} is not called like a space, <name>@<fingerprint>.")
    try:
        data = path.read_bytes()
        attributes = json.loads(data)["attributes"]
        del attributes["digest"]
        group = Group(name=named[0], fingerprint=named[1], **attributes)
        check_kind(group.role, group.dim, group.dtype)
        intact = group.zarr_json() == data
        actual = fingerprint(group.spec)
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedStoreError(f"{path} is missing.") from None
    except (ValueError, KeyError, TypeError, StoreError) as error:
        raise DamagedStoreError(f"{path} is damaged: {error!r}.") from None
    if not intact:
        raise DamagedStoreError(f"{path} is damaged: its bytes are not those that were written.")
    if actual != group.fingerprint:
        raise DamagedStoreError(f"{path} is damaged: its spec has the fingerprint {actual}, not its folder's.")
    return group


def create_group(spaces: Path, group: Group) -> Path:
    """Make the space's folder, whole or not at all, and synced. Whoever makes it first wins."""
    final = spaces / f"{group.name}@{group.fingerprint}"
    make_folder(spaces)
    temporary = spaces / f".{final.name}.{secrets.token_hex(4)}.tmp"
    try:
        for folder in ("vectors", "commits"):
            make_folder(temporary / folder)
        write_synced(temporary / "vectors" / "zarr.json", group.zarr_json())
        sync_folder(temporary / "vectors")
        with contextlib.suppress(OSError):  # it is there already: a folder that is not empty is never replaced
            temporary.rename(final)
        if not final.is_dir():
            temporary.rename(final)  # that was another error: raise it
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(spaces)
    return final
