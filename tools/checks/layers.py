"""layers: a folder of src/ includes itself and what is left of it, nothing else; a foreign library has one door."""
import re

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.M)

# The arrows. The vocabulary headers below are everybody's; the other public headers belong to the edges.
MAY_INCLUDE = {
    "base": {"base"},
    "text": {"base", "text"},
    "format": {"base", "format"},
    "kernels": {"base", "format", "kernels"},
    "dispatch": {"base", "format", "kernels", "dispatch"},
    "ops": {"base", "format", "kernels", "dispatch", "ops"},
    "model": {"base", "text", "format", "kernels", "dispatch", "ops", "model"},
    "runtime": {"base", "text", "format", "kernels", "dispatch", "ops", "model", "runtime"},
    "api": {"base", "text", "format", "kernels", "dispatch", "ops", "model", "runtime", "api", "stepless"},
    "capi": {"base", "capi", "stepless"},
    "server": {"base", "server", "stepless"},
    "cli": {"base", "cli", "stepless"},
}
VOCABULARY = {f"stepless/{name}.hpp" for name in ("error", "dtype", "tensor", "quant", "kv")}
# A public header that an inner folder implements, or whose plain data it works on.
OWN_HEADERS = {"ops": {"stepless/matmul.hpp"}, "model": {"stepless/convert.hpp"}, "runtime": {"stepless/engine.hpp"}}

# A library and the only places that may include its headers.
DOORS = (
    (re.compile(r"nlohmann/"), ("src/base/json.",)),
    (re.compile(r"(pcre2|utf8proc)\.h"), ("src/text/",)),
    (re.compile(r"CLI/"), ("src/cli/",)),
    (re.compile(r"toml\+\+/"), ("src/cli/config_file.",)),
    (re.compile(r"(histedit|editline/readline)\.h"), ("src/cli/line_reader.",)),
    (re.compile(r"boost/"), ("src/server/",)),
    (re.compile(r"(cuda|cublas|cub/|nvml)"), ("src/kernels/cuda/", "src/ops/cuda/")),
    (re.compile(r"(nccl|mpi)\.h"), ("src/ops/comm/",)),
    (re.compile(r"(gtest|gmock)/"), ()),
)
# Angle-bracket headers of a CPU kernel: C's, and the compiler's intrinsics.
KERNEL_SYSTEM = re.compile(r"[\w/]+\.h|c(stdint|stddef|string|math|float|limits|assert)")

KERNEL_HEADERS = {"kernels/args.hpp", "kernels/ceiling_entry.hpp", "kernels/philox.hpp"}  # static or plain data
# Folders under kernels/cpu whose headers wider sets may include; the first line that fits.
NARROWER = (
    ("kernels/cpu/avxvnni", ("kernels/cpu/avx2/",)),
    ("kernels/cpu/avx512vbmi", ("kernels/cpu/avx512/", "kernels/cpu/avx512vnni/")),
    ("kernels/cpu/avx512", ("kernels/cpu/avx512/",)),
    ("kernels/cpu/amx", ("kernels/cpu/avx512/", "kernels/cpu/avx512vnni/")),
    ("kernels/cpu/neondot", ("kernels/cpu/neon/",)),
    ("kernels/cpu/neonbf16", ("kernels/cpu/neon/", "kernels/cpu/neondot/")),
)
KERNEL_RULE = "a kernel includes kernels/args.hpp, headers of its own folder and of its device's `any`, and C headers"


def kernel_file(path, bracket, name):
    """What a file under kernels/cpu/<isa> may include: args.hpp, headers of its own folder and of `any` (all static, as
    isa-leak sees to), of folders whose set the folder's own contains, C headers and intrinsics."""
    folder = path.removeprefix("src/").rsplit("/", 1)[0] + "/"
    if bracket == "<":
        return KERNEL_SYSTEM.fullmatch(name) is not None
    narrower = next((also for begin, also in NARROWER if folder.startswith(begin)), ())
    return name in KERNEL_HEADERS or name.startswith((folder, "kernels/cpu/any/", *narrower))


def cuda_file(path, bracket, name):
    """The same under kernels/cuda: the toolkit's headers beside C's, and headers of its own folder, of cuda/any, and of
    the older generation whose order of summation a newer one keeps."""
    folder = path.removeprefix("src/").rsplit("/", 1)[0] + "/"
    if bracket == "<":
        return name.startswith("cuda") or KERNEL_SYSTEM.fullmatch(name) is not None
    older = ("kernels/cuda/sm80/",) if folder == "kernels/cuda/sm90/" else ()
    return name in KERNEL_HEADERS or name.startswith((folder, "kernels/cuda/any/", *older))


def source(path, layer, bracket, name):
    """Why this include is wrong, or nothing."""
    if path.startswith("src/kernels/cuda/"):
        return "" if cuda_file(path, bracket, name) else KERNEL_RULE
    if path.startswith("src/kernels/cpu/"):
        return "" if kernel_file(path, bracket, name) else KERNEL_RULE
    for pattern, doors in DOORS:
        if pattern.match(name) and not path.startswith(doors or ("tests/",)):
            return f"belongs in {' or '.join(doors)}" if doors else "belongs in tests/"
    if bracket == "<" or name in VOCABULARY or name in OWN_HEADERS.get(layer, ()):
        return ""
    target = name.split("/", 1)[0] if "/" in name else ""
    if target not in MAY_INCLUDE and target != "stepless":
        return "write includes from src/, as \"layer/file.hpp\""
    return "" if target in MAY_INCLUDE[layer] else f"{layer} may include {', '.join(sorted(MAY_INCLUDE[layer]))}"


def check(tree):
    problems = []
    for path in tree.under("src", "include", suffixes=(".cc", ".hpp", ".h", ".inc", ".cu", ".cuh")):
        layer = path.split("/")[1]
        if path.startswith("src/") and layer not in MAY_INCLUDE:
            problems.append(f"{path}: src/{layer} is not in the table of layers; add it to tools/checks/layers.py")
            continue
        for bracket, name in INCLUDE.findall(tree.text(path)):
            if path.startswith("include/"):
                wrong = "" if bracket == "<" or name.startswith("stepless/") else "public headers include public headers"
            else:
                wrong = source(path, layer, bracket, name)
            if wrong:
                problems.append(f"{path}: includes {name}; {wrong}")
    return problems
