"""stepless convert against mlx_lm.convert: the same tensors byte for byte, the same config, and mlx-lm runs the result."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("STEPLESS_TEST_BUILD", ROOT / "build/dev"))
SHARED = pathlib.Path(os.environ.get("STEPLESS_SHARED", ROOT.parent / "shared"))
BINARY = BUILD / "bin/stepless"
WANTED = "0.32.4 0.32.2"  # of mlx and mlx-lm: what is compared is their behaviour, not their idea


def mlx_python():
    """A Python that can import mlx-lm, and nothing; or nothing, and why."""
    found = os.environ.get("STEPLESS_MLX_PYTHON") or shutil.which("python3")
    if not found:
        return None, "no python3"
    asked = "import mlx.core, mlx_lm; print(mlx.core.__version__, mlx_lm.__version__)"
    done = subprocess.run([found, "-c", asked], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None, (f"{pathlib.Path(found).name} has no mlx_lm; point STEPLESS_MLX_PYTHON to one that has: "
                      "pip install 'mlx[cpu]==0.32.4' mlx-lm==0.32.2")
    if done.stdout.strip() != WANTED:
        return None, f"mlx and mlx-lm are {done.stdout.strip()}; these comparisons are with {WANTED}"
    return found, ""


class ConvertAgainstMlx(unittest.TestCase):
    def test_every_case(self):
        if not BINARY.exists():
            self.skipTest("the command line is not built")
        if not (SHARED / "models").is_dir():
            self.skipTest("the shared fixtures are not here")
        python, reason = mlx_python()
        if reason:
            self.skipTest(reason)
        work = pathlib.Path(tempfile.mkdtemp(prefix="stepless-mlx-"))
        self.addCleanup(shutil.rmtree, work)
        oracle = pathlib.Path(__file__).with_name("mlx_oracle.py")
        done = subprocess.run([python, str(oracle), str(BINARY), str(SHARED), str(work)], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        cases = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertGreater(len(cases), 60)
        for case in cases:
            with self.subTest(case["case"]):
                self.assertEqual(case["problems"], [])


if __name__ == "__main__":
    unittest.main()
