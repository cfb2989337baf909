"""evidence: a result that a page, a comment or a table cites is in bench/results."""
import re

CITED = re.compile(r"bench/results/[\w./-]*")


def check(tree):
    problems = []
    for path in tree.paths:
        if path.startswith(("tests/golden/", "tests/tools/", "tools/checks/", "models/", "bench/results/")):
            continue
        text = tree.text(path)
        for cited in CITED.finditer(text):
            if text[cited.end() : cited.end() + 1] in ("<", "*", "{"):
                continue  # bench/results/<machine>: a placeholder, not a citation
            target = cited.group().rstrip(".-/")
            if not (tree.root / target).exists():
                problems.append(f"{path}: cites {target}, which does not exist")
    return problems
