"""`make fuzz TARGET=payload SECONDS=60`: coverage-guided, from the seeds, with what was found kept beside them."""

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["remediator"]):
    from fuzzing.targets import TARGETS

SEEDS = Path(__file__).parents[1] / "data" / "fuzz"


def main() -> None:
    """Fuzz until the time is over or a target fails; libFuzzer then names the file that made it fail."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, required=True, help="where inputs that reach something new are kept")
    asked = parser.parse_args()
    corpus = asked.corpus / asked.target
    corpus.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={asked.seconds}",
        "-max_len=4096",
        "-timeout=20",
        "-rss_limit_mb=1500",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), str(SEEDS / asked.target), *options], TARGETS[asked.target])
    atheris.Fuzz()


main()
