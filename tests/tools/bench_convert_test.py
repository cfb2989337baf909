"""tools/bench_convert runs and saves what it saw; a conversion of many shards stays within two of them in memory."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("STEPLESS_TEST_BUILD", ROOT / "build/dev")) / "bin/stepless"


class BenchConvert(unittest.TestCase):
    def test_memory_stays_within_two_shards(self):
        if not BINARY.exists():
            self.skipTest("the command line is not built")
        cache = BINARY.parents[1] / "CMakeCache.txt"
        if cache.exists() and re.search(r"^STEPLESS_SANITIZE:\w+=\w", cache.read_text(), re.MULTILINE):
            self.skipTest("a sanitizer takes memory of its own")
        with tempfile.TemporaryDirectory(prefix="stepless-test-") as work:
            # Own process: a child's peak counts its parent's memory before exec.
            done = subprocess.run([sys.executable, ROOT / "tools/bench_convert", "--stepless", BINARY, "--folder", work,
                                   "--gb", "0.27", "--shards", "8", "--repeats", "1", "--save", f"{work}/kind"],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            saved = json.loads(pathlib.Path(work, "kind/convert.json").read_text())
            self.assertEqual([*pathlib.Path(work).iterdir()], [pathlib.Path(work, "kind")], "it tidies up")
        self.assertEqual(saved["machine"]["kind"], "kind")
        self.assertEqual([row["arm"] for row in saved["rows"]], ["copy", "convert"])
        row = saved["rows"][1]
        self.assertGreater(row["core_mb_s"], 0)
        self.assertLess(row["peak_mb"], 2 * row["input_mb"] / row["shards"])


if __name__ == "__main__":
    unittest.main()
