"""What the comparisons on a GPU share: shapes, cold operands by turns, rows of JSON."""
import datetime
import json
import statistics

COLD_BYTES = 192 << 20  # more than three times the second-level cache of an H200
ROUNDS = 7
SHAPES = [(13824, 5120), (5120, 13824), (14336, 4096), (4096, 4096), (8192, 3072), (3072, 8192), (128256, 3072)]
MS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 24, 32, 33, 48, 64, 128, 512, 2048]
DOTS = [1, 16, 256, 4096, 16384, 131072, 1_000_000, 50_000_000]


def copies_of(size):
    """How many operands of `size` bytes lie in turn, so that none is in a cache when its turn comes."""
    return max(2, -(-COLD_BYTES // size))


def summary(us):
    return {"us": round(statistics.median(us), 2), "least": round(min(us), 2), "most": round(max(us), 2)}


def show(peer, machine, command, rows):
    print(json.dumps({"peer": peer, "machine": machine, "command": command, "rounds": ROUNDS,
                      "date": str(datetime.date.today()), "rows": rows}, indent=1))
