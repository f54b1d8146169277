"""What a power cut may leave of a folder, after the file operations that `crash_driver` logged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

KEPT = ("none", "all", "vectors", "others")


@dataclass(eq=False)
class Node:
    """A file or folder, whatever its names are; of a file, the bytes that were synced."""

    is_folder: bool
    synced: bytes = b""


class Disk:
    """Names as processes see them, and as they are on the disk: there a folder's names are those of its last sync."""

    def __init__(self, start: Path) -> None:
        self.names = {".": Node(True)}
        for path in start.rglob("*"):
            node = Node(True) if path.is_dir() else Node(False, path.read_bytes())
            self.names[path.relative_to(start).as_posix()] = node
        self.durable: dict[Node, dict[str, Node]] = {}
        for path, node in self.names.items():
            if node.is_folder:
                self.durable[node] = self._children(path)

    def _children(self, folder: str) -> dict[str, Node]:
        inside = {path: node for path, node in self.names.items() if path != "."}
        return {PurePosixPath(p).name: node for p, node in inside.items() if str(PurePosixPath(p).parent) == folder}

    def happen(self, kind: str, path: str, *rest: str) -> None:
        """One logged event. The log has events before they take effect, so each is applied when the next one comes."""
        if kind == "open":
            self.names.setdefault(path, Node(False))
        elif kind == "os.mkdir":
            self.names.setdefault(path, Node(True))
            self.durable.setdefault(self.names[path], {})
        elif kind in ("os.rename", "os.link"):
            for name in [name for name in self.names if name == path or name.startswith(path + "/")]:
                self.names[rest[0] + name[len(path) :]] = self.names[name]
                if kind == "os.rename":
                    del self.names[name]
        elif kind in ("os.remove", "os.rmdir"):
            self.names.pop(path, None)
        elif kind == "fsync" and rest:
            self.names[path].synced = bytes.fromhex(rest[0].removeprefix("hex:"))
        elif kind == "fsync":
            self.durable[self.names[path]] = self._children(path)

    def write_what_is_left(self, target: Path, *, kept: str) -> None:
        """Make at `target` the worst that a power cut leaves: of files' bytes those that were synced; of names those
        that were synced in their folder or, as a journal may have kept them, all: nowhere, everywhere, in the folders
        of vectors, or in all but those (`kept` is one of KEPT)."""
        folders = {node: path for path, node in self.names.items() if node.is_folder}
        pending = [(self.names["."], target)]
        while pending:
            node, path = pending.pop()
            if not node.is_folder:
                path.write_bytes(node.synced)
                continue
            path.mkdir()
            name = folders.get(node)  # None: it was removed, but its folder was not synced since
            of_vectors = "/vectors" in (name or "")
            whole = {"none": False, "all": True, "vectors": of_vectors, "others": not of_vectors}[kept]
            inside = self._children(name) if whole and name is not None else self.durable[node]
            pending += [(child, path / name) for name, child in inside.items()]
