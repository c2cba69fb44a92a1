"""``python -m spech`` is the ``spech`` command."""

from spech.cli import main

if __name__ == "__main__":
    main(prog_name="spech")
