#!/usr/bin/env python3
"""The kernels of 64-bit ARM compile and export only their names. That they are right, `make aarch64` tells: the whole
library needs arm64 packages and minutes of qemu."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools"))
from checks import isa_leak  # noqa: E402

COMPILER = "aarch64-linux-gnu-g++"
# Their kernel files include C headers and intrinsics only, so that the compiler alone is enough.
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wswitch-enum", "-Werror", "-ffp-contract=off"]


def flags_of_folders():
    """{folder: its flags} from the lines stepless_target(neon... FLAGS)."""
    lines = re.findall(r"stepless_target\((neon\w*) ([^)]*)\)", (ROOT / "src/CMakeLists.txt").read_text())
    return {folder: flags.split() for folder, flags in lines}


class Kernels(unittest.TestCase):
    def test_every_folder_has_flags(self):
        folders = {path.name for path in (ROOT / "src/kernels/cpu").glob("neon*")}
        self.assertEqual(folders, set(flags_of_folders()))

    def test_each_compiles_and_exports_its_name_alone(self):
        if not shutil.which(COMPILER):
            self.skipTest(f"{COMPILER} is not installed: kernels of 64-bit ARM are not compiled")
        for folder, flags in flags_of_folders().items():
            for source in sorted((ROOT / "src/kernels/cpu" / folder).glob("*.cc")):
                with self.subTest(source.name), tempfile.TemporaryDirectory() as scratch:
                    made = pathlib.Path(scratch) / f"{source.name}.o"
                    done = subprocess.run([COMPILER, "-std=c++20", "-O1", *flags, *WARNINGS, "-I", ROOT / "src", "-I",
                                           ROOT / "include", "-c", source, "-o", made], capture_output=True, text=True,
                                          check=False)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(isa_leak.judge(made, isa_leak.symbols(made)), [])


if __name__ == "__main__":
    unittest.main()
