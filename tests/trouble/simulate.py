"""Lives from many seeds, on all cores: `python -m tests.trouble.simulate --seeds 20000`, or one with `--seed N`."""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence

from tests.world.simulation import simulate

SHOWN_MAX = 20  # failures in full


def attempt(seed: int) -> tuple[int, str]:
    """The seed, and what was wrong with its life."""
    logging.disable(logging.WARNING)
    try:
        simulate(seed)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told with its seed
        return seed, f"{type(error).__name__}: {error}"
    return seed, ""


def replay(seed: int) -> str:
    """How a person sees it again."""
    return f"python -m tests.trouble.simulate --seed {seed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 when a life was not as it ought to be."""
    parser = argparse.ArgumentParser(prog="python -m tests.trouble.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many lives")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one alone, with all it has to say")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        simulate(options.seed)
        print(f"seed {options.seed}: all is well")
        return 0
    began, failed, done = time.monotonic(), 0, 0
    seeds = range(options.first, options.first + options.seeds)
    with multiprocessing.Pool(
        os.cpu_count(), gc.disable, maxtasksperchild=100
    ) as pool:  # A life leaves little behind.
        for done, (seed, fault) in enumerate(pool.imap_unordered(attempt, seeds, chunksize=4), start=1):
            if fault:
                failed += 1
                if failed <= SHOWN_MAX:
                    print(f"{fault}\n  replay: {replay(seed)}\n", flush=True)
            if done % 1000 == 0:
                print(f"{done} of {options.seeds}, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{done} lives in {time.monotonic() - began:.0f} s, {failed} not as they ought to be")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
