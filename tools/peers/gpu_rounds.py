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


def products(words):
    """(n, k, ms) of the command line's `n k m` triples; without any, every shape with its rows."""
    numbers = [int(word) for word in words]
    if len(numbers) % 3 != 0:
        raise SystemExit("n k m belong together")
    for n, k, m in zip(*[iter(numbers)] * 3):
        yield n, k, [m]
    if not numbers:
        for n, k in SHAPES:
            yield n, k, MS if n < 100_000 else [m for m in MS if m <= 64]


def type_name(kind):
    """f32 of mlx.core.float32 and torch.float32, as bench/results names types."""
    return str(kind).rsplit(".", maxsplit=1)[-1].replace("float", "f")


def summary(us):
    return {"us": round(statistics.median(us), 2), "least": round(min(us), 2), "most": round(max(us), 2)}


def show(peer, machine, command, rows):
    """Every row names its peer: rows of several stand side by side in bench/results/h200/peers.json."""
    rows = [{"peer": peer, **row} for row in rows]
    print(json.dumps({"machine": machine, "command": command, "rounds": ROUNDS,
                      "date": str(datetime.date.today()), "rows": rows}, indent=1))
