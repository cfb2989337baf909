"""docs: generated pages are as their generator writes them now; links inside the repository lead somewhere."""
import os
import re
import subprocess
import sys

GENERATED = (("tools/kernel_table", "docs/kernels.md"),)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def generate(tree, tool):
    made = subprocess.run([sys.executable if tree.text(tool).startswith("#!/usr/bin/env python3") else "sh",
                           str(tree.root / tool)], cwd=tree.root, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise RuntimeError(f"{tool}: exit {made.returncode}: {made.stderr.strip()[-300:]}")
    return made.stdout


def check(tree):
    problems = []
    for tool, page in GENERATED:
        if tool not in tree.paths:
            continue
        try:
            wanted = generate(tree, tool)
        except RuntimeError as error:
            problems.append(str(error))
            continue
        if page not in tree.paths:
            problems.append(f"{page}: missing; make docs writes it")
        elif tree.text(page) != wanted:
            problems.append(f"{page}: not what {tool} writes now; make docs")
    for path in tree.paths:
        if not path.endswith(".md") or path.startswith(("tests/golden/", "models/")):
            continue
        for target in LINK.findall(tree.text(path)):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not (tree.root / os.path.dirname(path) / target).exists():
                problems.append(f"{path}: link to {target}, which does not exist")
    return problems


def update(tree):
    """Writes the generated pages again."""
    for tool, page in GENERATED:
        if tool in tree.paths:
            (tree.root / page).parent.mkdir(parents=True, exist_ok=True)
            (tree.root / page).write_text(generate(tree, tool), encoding="utf-8")
            print(f"wrote {page}")
