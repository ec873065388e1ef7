"""``python -m dpenet_cli`` is ``dpenet``."""

from dpenet_cli.cli.app import main

if __name__ == "__main__":
    main()
