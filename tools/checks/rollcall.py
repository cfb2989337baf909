"""rollcall: a kernel file, its row in kernels.inc and its exported symbol are one word, each exactly once. The loops that
measure ceilings have a list of their own beside it."""
import collections
import pathlib
import re

LIST = "src/kernels/kernels.inc"
CEILINGS = "src/kernels/ceilings.inc"
ROW = re.compile(r"^\s*(?:KERNEL|CEILING)\(\s*(\w+)\s*,\s*(\w+)", re.M)
SYMBOL = re.compile(r"STEPLESS_(?:(?:CUDA_)?KERNEL|CEILING)\(\s*(\w+)\s*\)")


def uncommented(text):
    return re.sub(r"//.*", "", text)


def rows(tree):
    """(isa, name) of every row; the isa of the `any` folders is the device's name."""
    return [row for path in (LIST, CEILINGS) if path in tree.paths for row in ROW.findall(uncommented(tree.text(path)))]


def folder_of(isa):
    return {"cpu": "cpu/any", "cuda": "cuda/any", "sm80": "cuda/sm80", "sm90": "cuda/sm90"}.get(isa, f"cpu/{isa}")


def check(tree):
    problems = []
    listed = rows(tree)
    if not listed:
        return [f"{LIST}: no KERNEL row found"]
    for name, count in collections.Counter(name for _, name in listed).items():
        if count > 1:
            problems.append(f"{LIST}: {name} is listed {count} times")
    expected = {}
    for isa, name in listed:
        if not name.endswith(f"_{isa}"):
            problems.append(f"{LIST}: {name} stands under {isa}, its name ends otherwise")
        expected[f"src/kernels/{folder_of(isa)}/{name}"] = name
    files = {path.rsplit(".", 1)[0]: path for path in tree.under("src/kernels/cpu", "src/kernels/cuda", suffixes=(".cc", ".cu"))}
    problems += [f"{LIST}: {expected[stem]} has no file {stem}.cc or .cu" for stem in expected if stem not in files]
    for stem, path in files.items():
        if stem not in expected:
            problems.append(f"{path}: no row in {LIST}, so it would never run")
        exported = SYMBOL.findall(uncommented(tree.text(path)))
        if exported != [pathlib.PurePath(stem).name]:
            problems.append(f"{path}: exports {', '.join(exported) or 'nothing'}; a kernel file exports its own name once")
    return problems
