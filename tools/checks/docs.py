"""docs: generated pages are as their generator writes them now; links inside the repository lead somewhere."""
import os
import re
import subprocess
import sys

from checks.tree import Skip

GENERATED = (("tools/kernel_table", "docs/kernels.md"), ("tools/cli_reference", "docs/cli.md"),
             ("tools/performance", "docs/performance.md"), ("tools/plots", "docs/performance.svg"))
CANNOT_TELL = 77  # a generator's exit status when what it reads is not built
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def generate(tree, tool):
    made = subprocess.run([sys.executable if tree.text(tool).startswith("#!/usr/bin/env python3") else "sh",
                           str(tree.root / tool)], cwd=tree.root, capture_output=True, text=True, check=False,
                          env=dict(os.environ, STEPLESS_BUILD=str(tree.build)))
    if made.returncode == CANNOT_TELL:
        raise Skip(f"{tool}: {made.stderr.strip()}")
    if made.returncode != 0:
        raise RuntimeError(f"{tool}: exit {made.returncode}: {made.stderr.strip()[-300:]}")
    return made.stdout


def check(tree):
    problems, skipped = [], None
    for tool, page in GENERATED:
        if tool not in tree.paths:
            continue
        try:
            wanted = generate(tree, tool)
        except Skip as reason:
            skipped = reason
            continue
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
    if skipped and not problems:
        raise skipped
    return problems


def update(tree):
    """Writes the generated pages again."""
    for tool, page in GENERATED:
        if tool in tree.paths:
            try:
                text = generate(tree, tool)
            except Skip as reason:
                print(f"left {page} as it is: {reason}")
                continue
            (tree.root / page).parent.mkdir(parents=True, exist_ok=True)
            (tree.root / page).write_text(text, encoding="utf-8")
            print(f"wrote {page}")
