"""tools/peers/run, batches and neighbour with the real stepless and peers that are scripts: rows, ratios and refusals, whatever the times
are."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("STEPLESS_TEST_BUILD", ROOT / "build/dev"))
RUN, BATCHES, NEIGHBOUR = (ROOT / "tools/peers" / name for name in ("run", "batches", "neighbour"))
MLX = """#!/bin/sh
echo '{"version": "mlx 1, mlx-lm 2", "pp_s": 1000, "tg_s": 2000}'
"""
LLAMA = """#!/bin/sh
echo '[{"build_commit": "abc", "model_type": "m", "n_prompt": 4, "n_gen": 0, "avg_ns": 1000000000},
       {"n_prompt": 0, "n_gen": 2, "avg_ns": 4000000000}]'
"""

# Slower with --no-repack in prompts, faster in answers.
LLAMA_ONCE = """#!/bin/sh
pp=100 tg=200
for word in "$@"; do [ "$word" = --no-repack ] && pp=400 tg=50; done
echo '{"version": "llama.cpp 1", "rows": [{"batch": 1, "pp_s": '$pp', "tg_s": '$tg'}, {"batch": 2, "pp_s": 4, "tg_s": 8}]}'
"""


@unittest.skipUnless((BUILD / "bin/stepless").is_file(), "the command line is not built")
class Peers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="stepless-peers-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def script(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def run_peers(self, *more):
        return subprocess.run([sys.executable, str(RUN), "--stepless", str(BUILD / "bin/stepless"), "--model",
                               str(ROOT / "models/tale-draft-4bit"), "-p", "4", "-n", "2", "-r", "2", *map(str, more)],
                              capture_output=True, text=True, check=False)

    def test_a_row_per_program_and_test_with_ratios_of_the_same_round(self):
        done = self.run_peers("--mlx-python", self.script("mlx", MLX), "--llama-bench", self.script("llama", LLAMA),
                              "--gguf", "a.gguf")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        rows = {(row["test"], row["program"]): row for row in result["rows"]}
        self.assertEqual(len(rows), 6)
        self.assertEqual(rows["tg2", "llama.cpp"]["tokens_per_second"], 0.5)
        self.assertEqual(rows["pp4", "mlx-lm"]["tokens_per_second"], 0.004)
        self.assertEqual(rows["pp4", "stepless"]["ratio"], 1)
        for test in ("pp4", "tg2"):
            self.assertGreater(rows[test, "mlx-lm"]["ratio"], rows[test, "llama.cpp"]["ratio"])
        self.assertIn("load", result["machine"])
        self.assertEqual(rows["pp4", "llama.cpp"]["version"], "llama.cpp abc (m)")
        page = self.folder / "peers.json"
        page.write_text(done.stdout, encoding="utf-8")
        shown = subprocess.run([str(BUILD / "bin/stepless"), "bench", "report", str(page)], capture_output=True, text=True,
                               check=False)
        self.assertIn("| llama.cpp ", shown.stdout)

    def test_batches_name_the_peers_best(self):
        words = ["--stepless", BUILD / "bin/stepless", "--llama-python", self.script("llama", LLAMA_ONCE), "--gguf", "a.gguf",
                 "--npp", "4", "--ntg", "2", "--npl", "1,2", "-r", "1"]
        done = subprocess.run([sys.executable, str(BATCHES), *map(str, words)], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        rows = {(row["batch"], row["program"]): row for row in result["rows"]}
        self.assertEqual(len(rows), 2 * 4)
        self.assertEqual(rows[2, "llama.cpp a"]["prompt_tokens_per_second"], 2)
        best = rows[1, "llama.cpp, best"]
        self.assertEqual((best["prompt_tokens_per_second"], best["answer_tokens_per_second"]), (0.04, 0.04))
        self.assertGreater(rows[1, "llama.cpp a"]["answer_ratio"], best["answer_ratio"])
        self.assertEqual(rows[1, "stepless"]["answer_ratio"], 1)

    def test_a_neighbour_is_a_row_per_program_threads_and_loops(self):
        words = ["--stepless", BUILD / "bin/stepless", "--model", ROOT / "models/tale-draft-4bit", "--llama-python",
                 self.script("llama", LLAMA_ONCE), "--gguf", "a.gguf", "--loops", "1", "-t", "2", "-n", "2", "-r", "1"]
        done = subprocess.run([sys.executable, str(NEIGHBOUR), *map(str, words)], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [line.strip("|").split("|") for line in done.stdout.splitlines()[2:]]
        self.assertEqual(len(rows), 2)
        rates = {tuple(cell.strip() for cell in row[:3]): float(row[3]) for row in rows}
        self.assertEqual(rates["llama.cpp", "2", "1"], 0.0)  # 2 tokens in 200 s
        self.assertGreater(rates["stepless", "2", "1"], 0)
        refused = subprocess.run([sys.executable, str(NEIGHBOUR), "--stepless", "x", "--gguf", "y"], capture_output=True,
                                 text=True, check=False)
        self.assertIn("go together", refused.stderr)

    def test_what_cannot_be_is_refused(self):
        self.assertIn("no peer", self.run_peers().stderr)
        self.assertIn("go together", self.run_peers("--llama-bench", "x").stderr)
        failing = self.script("failing", "#!/bin/sh\necho broken >&2; exit 3\n")
        done = self.run_peers("--mlx-python", failing)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("broken", done.stderr)


if __name__ == "__main__":
    unittest.main()
