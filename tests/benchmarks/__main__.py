"""``python -m tests.benchmarks [NAME…]``: run these benchmarks, or all of them."""

import sys
from importlib import import_module

BENCHMARKS = ("harvest", "yield", "impact", "waiting", "middleware", "pubsub")
_MODULES = {"yield": "yielding"}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(f"error: there is no benchmark {unknown[0]!r}: there are {', '.join(BENCHMARKS)}\n")
        return 2
    for name in names or BENCHMARKS:
        import_module(f"tests.benchmarks.{_MODULES.get(name, name)}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
