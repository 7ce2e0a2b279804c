"""``python -m isthmus_proxy``, and the entry point of the command ``isthmus-proxy``."""

from __future__ import annotations

import sys

from isthmus_proxy import cli


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
