"""`python -m qwen_cli` is `qwen`."""

from qwen_cli.commands.main import main

if __name__ == "__main__":
    main()
