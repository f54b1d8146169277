"""`photorank` and `python -m photorank`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; known errors end it with one sentence and status 1."""
    from photorank.cli import app
    from photorank.errors import PhotorankError

    try:
        app()
    except PhotorankError as error:
        print(f"photorank: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except OSError as error:
        if error.filename is None:  # not about a file: a fault of the program, to be seen whole
            raise
        print(f"photorank: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
