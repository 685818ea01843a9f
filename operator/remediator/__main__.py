"""`python -m remediator`: the operator."""

import sys

from remediator.domain.errors import RemediatorError


def main() -> None:
    """Run until stopped; the exit code is 0 after a stop that was asked for, 2 for a wrong setting."""
    from remediator.main import run

    try:
        run()
    except RemediatorError as error:
        print(f"remediator: {error}", file=sys.stderr)  # noqa: T201 - nothing else is there to hear it
        sys.exit(2)


if __name__ == "__main__":
    main()
