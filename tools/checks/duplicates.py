"""duplicates: no 12 equal lines in two places. Blank lines, comments, includes and lone brackets do not count."""
import collections
import re

WINDOW = 12
FOLDERS = ("src", "include", "tests", "tools", "bench", "fuzz", "cmake")
NOTHING = re.compile(r"(//.*|#(?!define|if|pragma).*|\"\"\".*|[{}()\[\];,]*)")


def telling_lines(text):
    """(line number, line without its indentation) of the lines that say something."""
    for number, line in enumerate(text.splitlines(), 1):
        bare = " ".join(line.split())
        if bare and not NOTHING.fullmatch(bare):
            yield number, bare


def check(tree):
    seen = collections.defaultdict(list)  # window -> [(path, index of its first line)]
    lines = {path: list(telling_lines(tree.text(path))) for path in tree.code(*FOLDERS)}
    for path, told in lines.items():
        for first in range(len(told) - WINDOW + 1):
            seen[tuple(bare for _, bare in told[first : first + WINDOW])].append((path, first))
    pairs = collections.defaultdict(set)  # (path, path, distance) -> first lines of equal windows
    for places in seen.values():
        for i, (path, first) in enumerate(places):
            for other, second in places[i + 1 :]:
                if path != other or second - first >= WINDOW:
                    pairs[(path, other, second - first)].add(first)
    problems = []
    for (path, other, distance), firsts in sorted(pairs.items()):
        for first in sorted(firsts):
            if first - 1 in firsts:
                continue
            length = WINDOW
            while first + length - WINDOW + 1 in firsts:
                length += 1
            problems.append(f"{path}:{lines[path][first][0]} and {other}:{lines[other][first + distance][0]}: "
                            f"{length} equal lines; make one piece of code serve both")
    return problems
