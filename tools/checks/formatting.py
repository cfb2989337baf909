"""format: C++ files are as clang-format 14 writes them; another version formats differently and is not asked."""
import concurrent.futures
import os
import re
import shutil
import subprocess

from checks.tree import Skip

SUFFIXES = (".cc", ".hpp", ".h", ".cu", ".cuh")


def formatter():
    for name in ("clang-format-14", "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
            if re.search(r"version 14\.", version):
                return name
    return None


def check(tree):
    name = formatter()
    if not name:
        raise Skip("clang-format 14 is not installed (apt-get install clang-format-14)")
    paths = list(tree.under("src", "include", "tests", "bench", "fuzz", "examples", suffixes=SUFFIXES))

    def judge(path):
        done = subprocess.run([name, "--dry-run", "--Werror", "--style=file", path], cwd=tree.root, capture_output=True,
                              text=True, check=False)
        lines = re.findall(r":(\d+):\d+: error:", done.stderr)
        return [f"{path}:{lines[0] if lines else 1}: not formatted; {name} -i {path}"] if done.returncode else []

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return [problem for problems in pool.map(judge, paths) for problem in problems]
