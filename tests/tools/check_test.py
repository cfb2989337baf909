"""Every part of tools/check can pass and can fail: each on a small tree made here."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import checks  # noqa: E402

KERNEL = '#include "kernels/args.hpp"\nnamespace stepless::kernels {{ STEPLESS_KERNEL({0}) = {{nullptr}}; }}\n'
ROWS = "src/kernels/kernels.inc"


class Part(unittest.TestCase):
    """A fresh folder per test; `problems` runs one part over the files written into it."""

    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="stepless-check-"))
        self.addCleanup(shutil.rmtree, self.root)

    def write(self, path, text):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def problems(self, part):
        verdict = next(iter(checks.run(checks.Tree(self.root), [part])))
        if verdict.skipped:
            self.skipTest(verdict.skipped)
        return verdict.problems

    def assert_clean(self, part):
        self.assertEqual(self.problems(part), [])

    def assert_wrong(self, part, *words):
        found = self.problems(part)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])


class Layers(Part):
    def test_arrows_to_the_left_pass(self):
        self.write("src/ops/a.cc", '#include <vector>\n#include "ops/a.hpp"\n#include "dispatch/select.hpp"\n'
                                   '#include "stepless/tensor.hpp"\n')
        self.write("src/model/a.cc", '#include "text/tokenizer.hpp"\n')
        self.write("src/cli/a.cc", '#include <CLI/CLI.hpp>\n#include "base/error.hpp"\n#include "stepless/model.hpp"\n')
        self.assert_clean("layers")

    def test_an_arrow_to_the_right(self):
        self.write("src/format/a.cc", '#include "base/error.hpp"\n#include "ops/program.hpp"\n')
        self.assert_wrong("layers", "src/format/a.cc", "ops/program.hpp")

    def test_text_and_format_do_not_meet(self):
        self.write("src/text/a.cc", '#include "format/dtype.hpp"\n')
        self.assert_wrong("layers", "format/dtype.hpp")

    def test_an_edge_lives_on_public_headers(self):
        self.write("src/cli/a.cc", '#include "runtime/engine.hpp"\n')
        self.assert_wrong("layers", "runtime/engine.hpp", "cli may include")

    def test_a_public_header_that_is_not_vocabulary(self):
        self.write("src/ops/a.cc", '#include "stepless/matmul.hpp"\n#include "stepless/engine.hpp"\n')
        self.assert_wrong("layers", "stepless/engine.hpp")

    def test_a_public_header_names_no_inner_one(self):
        self.write("include/stepless/a.hpp", '#include "base/error.hpp"\n')
        self.assert_wrong("layers", "public headers")

    def test_one_door_for_json(self):
        self.write("src/base/json.cc", "#include <nlohmann/json.hpp>\n")
        self.write("src/text/a.cc", "#include <nlohmann/json.hpp>\n")
        self.assert_wrong("layers", "src/text/a.cc", "src/base/json.")

    def test_a_kernel_brings_no_cpp_library(self):
        self.write("src/kernels/cpu/avx2/a.cc", '#include <immintrin.h>\n#include "kernels/args.hpp"\n#include <algorithm>\n')
        self.assert_wrong("layers", "algorithm")

    def test_a_kernel_shares_headers_with_no_other_isa(self):
        self.write("src/kernels/cpu/avx2/a.cc", '#include "kernels/cpu/avx2/b.hpp"\n#include "kernels/cpu/any/b.hpp"\n'
                                                '#include "kernels/cpu/avx512/b.hpp"\n')
        self.assert_wrong("layers", "kernels/cpu/avx512/b.hpp")

    def test_a_kernel_may_build_on_a_set_that_its_own_contains(self):
        self.write("src/kernels/cpu/neonbf16/a.cc", '#include "kernels/cpu/neondot/b.hpp"\n#include "kernels/cpu/neon/b.hpp"\n')
        self.assert_clean("layers")
        self.write("src/kernels/cpu/neondot/a.cc", '#include "kernels/cpu/neonbf16/b.hpp"\n')
        self.assert_wrong("layers", "kernels/cpu/neonbf16/b.hpp")

    def test_a_folder_nobody_drew(self):
        self.write("src/utils/a.cc", "")
        self.assert_wrong("layers", "src/utils")


class Rollcall(Part):
    def setUp(self):
        super().setUp()
        self.write(ROWS, "// KERNEL(isa, name, fields)\nKERNEL(avx2, mm_avx2, .unit = Unit::rows,\n       .order = x)\n"
                         "KERNEL(cpu, mm_cpu)\n")
        self.write("src/kernels/cpu/avx2/mm_avx2.cc", KERNEL.format("mm_avx2"))
        self.write("src/kernels/cpu/any/mm_cpu.cc", KERNEL.format("mm_cpu"))

    def test_file_row_and_symbol_agree(self):
        self.assert_clean("rollcall")

    def test_a_file_without_a_row(self):
        self.write("src/kernels/cpu/avx2/dot_avx2.cc", KERNEL.format("dot_avx2"))
        self.assert_wrong("rollcall", "dot_avx2", "never run")

    def test_a_row_without_a_file(self):
        self.write(ROWS, (self.root / ROWS).read_text() + "KERNEL(avx2, dot_avx2)\n")
        self.assert_wrong("rollcall", "dot_avx2", "has no file")

    def test_ceilings_have_a_list_of_their_own(self):
        self.write("src/kernels/cpu/avx2/ceilings_avx2.cc", KERNEL.format("ceilings_avx2").replace("KERNEL", "CEILING"))
        self.assert_wrong("rollcall", "ceilings_avx2", "never run")
        self.write("src/kernels/ceilings.inc", "CEILING(avx2, ceilings_avx2)\n")
        self.assert_clean("rollcall")

    def test_another_symbol(self):
        self.write("src/kernels/cpu/any/mm_cpu.cc", KERNEL.format("mm_cpp"))
        self.assert_wrong("rollcall", "mm_cpp")

    def test_a_row_twice(self):
        self.write(ROWS, (self.root / ROWS).read_text() + "KERNEL(cpu, mm_cpu)\n")
        self.assert_wrong("rollcall", "2 times")

    def test_a_row_under_another_isa(self):
        self.write(ROWS, "KERNEL(cpu, mm_cpu)\nKERNEL(avx2, mm_avx512)\n")
        self.write("src/kernels/cpu/avx2/mm_avx512.cc", KERNEL.format("mm_avx512"))
        (self.root / "src/kernels/cpu/avx2/mm_avx2.cc").unlink()
        self.assert_wrong("rollcall", "mm_avx512", "avx2")


@unittest.skipUnless(shutil.which("g++") and shutil.which("nm"), "g++ and nm are not installed")
class IsaLeak(Part):
    CLEAN = "namespace stepless::kernels {{ extern const int {0}; const int {0} = 1; {1} }}\n"

    def compile(self, name, more=""):
        path = f"src/kernels/cpu/avx2/{name}.cc"
        self.write(path, self.CLEAN.format(name, more))
        made = self.root / f"build/dev/src/CMakeFiles/stepless_kernels_avx2.dir/kernels/cpu/avx2/{name}.cc.o"
        made.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["g++", "-c", "-O0", str(self.root / path), "-o", str(made)], check=True)

    def test_one_symbol(self):
        self.compile("mm_avx2", "static int half(int x) { return x / 2; }")
        self.assert_clean("isa-leak")

    def test_an_inline_function_that_the_linker_may_keep(self):
        self.compile("mm_avx2", "inline int half(int x) { return x / 2; } int (*const use)(int) = half;")
        self.assert_wrong("isa-leak", "weak symbol", "half")

    def test_a_helper_seen_outside(self):
        self.compile("mm_avx2", "int half(int x) { return x / 2; }")
        self.assert_wrong("isa-leak", "half")

    def test_the_row_is_not_exported(self):
        self.compile("mm_avx2")
        objects = self.root / "build/dev/src/CMakeFiles/stepless_kernels_avx2.dir/kernels/cpu/avx2"
        (objects / "mm_avx2.cc.o").rename(objects / "dot_avx2.cc.o")
        self.write("src/kernels/cpu/avx2/dot_avx2.cc", "")
        self.assertTrue(any("does not export dot_avx2" in problem for problem in self.problems("isa-leak")))

    def test_an_object_whose_source_is_gone_is_not_asked(self):
        self.compile("mm_avx2")
        self.compile("dot_avx2", "int half(int x) { return x / 2; }")
        (self.root / "src/kernels/cpu/avx2/dot_avx2.cc").unlink()
        self.assert_clean("isa-leak")

    def test_nothing_built_is_a_skip(self):
        verdict = next(iter(checks.run(checks.Tree(self.root), ["isa-leak"])))
        self.assertEqual(verdict.skipped, "no kernel object is built")


class Docs(Part):
    def setUp(self):
        super().setUp()
        self.write("tools/kernel_table", "#!/usr/bin/env python3\nprint('one kernel')\n")

    def test_a_page_as_generated(self):
        self.write("docs/kernels.md", "one kernel\n")
        self.assert_clean("docs")

    def test_a_page_left_behind(self):
        self.write("docs/kernels.md", "no kernel\n")
        self.assert_wrong("docs", "docs/kernels.md", "make docs")

    def test_a_page_that_is_not_there(self):
        self.assert_wrong("docs", "missing")

    def test_a_generator_that_cannot_tell_is_no_pass(self):
        self.write("docs/kernels.md", "one kernel\n")
        self.write("tools/cli_reference", "#!/usr/bin/env python3\nimport sys\nsys.exit('no build' and 77)\n")
        verdict = next(iter(checks.run(checks.Tree(self.root), ["docs"])))
        self.assertIn("tools/cli_reference", verdict.skipped)
        self.write("docs/kernels.md", "no kernel\n")
        self.assert_wrong("docs", "docs/kernels.md")

    def test_a_link_to_nowhere(self):
        self.write("docs/kernels.md", "one kernel\n")
        self.write("README.md", "[yes](docs/kernels.md#one), [no](docs/none.md), [web](https://example.com/x)\n")
        self.assert_wrong("docs", "docs/none.md")


class Duplicates(Part):
    LINES = "".join(f"  total += weight[{i}] * x;\n" for i in range(12))

    def test_eleven_equal_lines_pass(self):
        self.write("src/a.cc", self.LINES)
        self.write("src/b.cc", "int b;\n" + self.LINES.split("\n", 1)[1])
        self.assert_clean("duplicates")

    def test_twelve_equal_lines_whatever_stands_between(self):
        self.write("src/a.cc", self.LINES)
        self.write("src/b.cc", "int b;\n\n// why\n" + self.LINES.replace("\n", "\n\n    // more\n", 3))
        self.assert_wrong("duplicates", "src/a.cc:1", "src/b.cc:4", "12 equal lines")

    def test_a_long_run_is_told_once(self):
        long = "".join(f"  total += weight[{i}] * x;\n" for i in range(30))
        self.write("src/a.cc", long)
        self.write("tools/b.py", "x = 1\n" + long)
        self.assert_wrong("duplicates", "30 equal lines")

    def test_twice_in_one_file(self):
        self.write("src/a.cc", self.LINES + "int between;\n" + self.LINES)
        self.assert_wrong("duplicates", "src/a.cc:1 and src/a.cc:14")

    def test_includes_do_not_count(self):
        includes = "".join(f"#include <a{i}>\n" for i in range(20))
        self.write("src/a.cc", includes)
        self.write("src/b.cc", includes)
        self.assert_clean("duplicates")


class Sizes(Part):
    def lines(self, path, count):
        self.write(path, "".join(f"int a{i};\n" for i in range(count)))

    def test_small_files(self):
        for i in range(9):
            self.lines(f"src/a{i}.cc", 450)
        self.lines("src/long.cc", 600)
        self.assert_clean("sizes")

    def test_a_file_that_is_too_long(self):
        for i in range(10):
            self.lines(f"src/a{i}.cc", 10)
        self.lines("tests/long.cc", 601)
        self.assert_wrong("sizes", "tests/long.cc", "601")

    def test_too_many_long_files(self):
        for i in range(5):
            self.lines(f"src/a{i}.cc", 451)
        self.assert_wrong("sizes", "nine of ten", "451")

    def test_a_public_header_is_a_manual(self):
        self.lines("include/stepless/a.hpp", 201)
        self.assert_wrong("sizes", "include/stepless/a.hpp")

    def test_scripts_without_a_suffix_count(self):
        self.write("tools/long", "#!/bin/sh\n" + "true\n" * 600)
        self.assertTrue(any("tools/long" in problem for problem in self.problems("sizes")))

    def test_lines_of_fixtures_do_not_count(self):
        self.lines("tests/golden/big.inc", 5000)
        self.assert_clean("sizes")

    def test_all_bytes_count(self):
        self.write("tests/golden/big.safetensors", "")
        os.truncate(self.root / "tests/golden/big.safetensors", 60_000_001)
        self.assert_wrong("sizes", "60 MB")


class Evidence(Part):
    def test_a_result_that_exists(self):
        self.write("bench/results/zen4/qmm.json", "{}")
        self.write("src/a.inc", "// bench/results/zen4/qmm.json, and bench/results/zen4.\n")
        self.write("docs/a.md", "results go to bench/results/<machine>/\n")
        self.assert_clean("evidence")

    def test_a_result_nobody_has(self):
        self.write("src/dispatch/measured.inc", "ROW(x, 0.91, \"bench/results/zen5/qmm.json\")\n")
        self.assert_wrong("evidence", "measured.inc", "bench/results/zen5/qmm.json")


class Format(Part):
    def setUp(self):
        super().setUp()
        self.write(".clang-format", (ROOT / ".clang-format").read_text(encoding="utf-8"))

    def test_formatted(self):
        self.write("src/a.cc", "int a() { return 1; }\n")
        self.assert_clean("format")

    def test_not_formatted(self):
        self.write("src/a.cc", "int a() { return 1; }\nint  b(){return 2;}\n")
        self.assert_wrong("format", "src/a.cc:2")


class Names(Part):
    def test_public_names(self):
        self.write("README.md", "https://github.com/a/b, $HOME/work/x, ~/.cache, 127.0.0.1, build/home/x, 1.10.0.2\n")
        self.assert_clean("names")

    def test_a_path_of_somebodys_machine(self):
        self.write("docs/a.md", "\nsee /" + "home/ann/stepless\n")
        self.assert_wrong("names", "docs/a.md:2", "path of one machine")

    def test_a_private_address(self):
        self.write("tools/a.sh", "ping 10." + "1.2.3\n")
        self.assert_wrong("names", "private address")

    def test_a_host_nobody_knows(self):
        self.write("tools/deps.txt", "http:/" + "/mirror.corp.internal/debian\n")
        self.assert_wrong("names", "mirror.")


class Command(unittest.TestCase):
    """The command line of tools/check itself."""

    def run_check(self, *words):
        return subprocess.run([sys.executable, str(ROOT / "tools/check"), *words], capture_output=True, text=True, check=False)

    def test_an_unknown_part_is_refused_by_name(self):
        done = self.run_check("layer")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no part layer", done.stderr)

    def test_every_part_runs_alone(self):
        for part in checks.PARTS:
            done = self.run_check(part)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertTrue(done.stdout.startswith(part), done.stdout)


if __name__ == "__main__":
    unittest.main()
