"""isa-leak: a built kernel object exports its row's symbol and nothing else, no weak one above all: the linker could
keep an ISA folder's copy of an inline function for every machine."""
import shutil
import subprocess

from checks.tree import Skip

PRESETS = ("release", "dev")


def objects(tree):
    """Objects of kernels whose source still exists: of the build given, or of the presets' builds under it."""
    one_build = (tree.build / "CMakeCache.txt").exists()
    for folder in [tree.build] if one_build else [tree.build / preset for preset in PRESETS]:
        for found in folder.glob("src/CMakeFiles/stepless_kernels_*.dir/kernels/cpu/*/*.o"):
            source = f"src/kernels/cpu/{found.parent.name}/{found.name.removesuffix('.o')}"
            if source in tree.paths:
                yield found


def symbols(path):
    """(kind, mangled name) of what an object defines for others."""
    listed = subprocess.run(["nm", "--defined-only", "--extern-only", "--format=posix", str(path)], capture_output=True,
                            text=True, check=True)
    return [(line.split()[1], line.split()[0]) for line in listed.stdout.splitlines() if len(line.split()) >= 2]


def judge(path, defined):
    word = path.name.split(".", 1)[0]
    wanted = f"_ZN8stepless7kernels{len(word)}{word}E"
    names = [name for _, name in defined]
    problems = [] if wanted in names else [f"{path.name}: does not export {word}"]
    for kind, name in defined:
        if kind in "VWuvw":
            problems.append(f"{path.name}: weak symbol {name}; make it static, or leave the header that brought it")
        elif name != wanted:
            problems.append(f"{path.name}: exports {name}; only {word} may be seen outside")
    return problems


def check(tree):
    if not shutil.which("nm"):
        raise Skip("nm is not installed")
    if tree.build.name in ("asan", "tsan"):
        raise Skip("a sanitizer adds symbols of its own to every object")
    found = list(objects(tree))
    if not found:
        raise Skip("no kernel object is built")
    return sorted({problem for path in found for problem in judge(path, symbols(path))})
