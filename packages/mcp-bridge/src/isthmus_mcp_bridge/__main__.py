"""``python -m isthmus_mcp_bridge`` and the installed command."""

from __future__ import annotations

import sys

from isthmus_mcp_bridge import cli


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
