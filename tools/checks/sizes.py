"""sizes: files stay small enough to be read: nine of ten at most 450 lines, none above 600, a public header 200. The
whole, fixtures included, stays small enough to be cloned: 60 MB."""
import math

FOLDERS = ("src", "include", "tests", "tools", "bench", "fuzz")
MOST, MOST_OF_NINE_IN_TEN, MOST_IN_PUBLIC_HEADER = 600, 450, 200
MOST_BYTES = 60_000_000


def check(tree):
    lengths = {path: len(tree.text(path).splitlines()) for path in tree.code(*FOLDERS)}
    problems = []
    for path, length in lengths.items():
        most = MOST_IN_PUBLIC_HEADER if path.startswith("include/") else MOST
        if length > most:
            problems.append(f"{path}: {length} lines; at most {most}, so split it by topic")
    if lengths:
        ordered = sorted(lengths.values())
        p90 = ordered[math.ceil(0.9 * len(ordered)) - 1]
        if p90 > MOST_OF_NINE_IN_TEN:
            problems.append(f"nine of ten files reach {p90} lines; at most {MOST_OF_NINE_IN_TEN}")
    total = sum((tree.root / path).stat().st_size for path in tree.paths)
    if total > MOST_BYTES:
        problems.append(f"all files together: {total / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f}")
    return problems
