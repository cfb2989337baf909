"""tools/run_tests tells what happened: failures, crashes, time outs, skips and their reasons."""
import importlib.machinery
import importlib.util
import os
import pathlib
import shutil
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(path):
    """A script without a suffix as a module."""
    loader = importlib.machinery.SourceFileLoader(path.name + "_script", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


run_tests = load(ROOT / "tools/run_tests")

REPORT = """{"testsuites": [{"name": "A", "testsuite": [
 {"name": "Good", "status": "RUN", "result": "COMPLETED"},
 {"name": "Bad", "status": "RUN", "result": "COMPLETED", "failures": [{"failure": "a.cc:3\\n1 is not 2"}]},
 {"name": "Later", "status": "RUN", "result": "SKIPPED"},
 {"name": "DISABLED_Off", "status": "NOTRUN", "result": "SUPPRESSED"}]}]}"""


class RunProgram(unittest.TestCase):
    """Shell scripts stand in for gtest programs."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stepless-run-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def run_script(self, body, limit=60):
        path = self.folder / "a_test"
        path.write_text("#!/bin/sh\nfor word; do case $word in --gtest_output=json:*) out=${word#*:} ;; esac; done\n" + body)
        path.chmod(0o755)
        return run_tests.run_program(path, limit, "", dict(os.environ))

    def test_every_kind_of_result_is_counted(self):
        done = self.run_script("echo '[ RUN      ] A.Later'\necho 'a.cc:9: Skipped'\necho 'no shared folder'\n"
                               f"echo '[  SKIPPED ] A.Later (0 ms)'\ncat >$out <<'E'\n{REPORT}\nE\nexit 1\n")
        self.assertEqual(done.passed, 1)
        self.assertEqual(done.failures, [("A.Bad", "a.cc:3\n1 is not 2")])
        self.assertEqual(sorted(done.skips), ["disabled in its source", "no shared folder"])

    def test_an_emulator_starts_the_program(self):
        path = self.folder / "b_test"  # no program by itself
        path.write_text("echo '[ RUN      ] B.One'\necho '[       OK ] B.One (0 ms)'\n")
        done = run_tests.run_program(path, 60, "", dict(os.environ), "sh -e")
        self.assertEqual((done.passed, done.failures), (1, []))
        with self.assertRaises(PermissionError):
            run_tests.run_program(path, 60, "", dict(os.environ))

    def test_a_crash_fails_the_test_that_was_running(self):
        done = self.run_script("echo '[ RUN      ] A.One'\necho '[       OK ] A.One (0 ms)'\n"
                               "echo '[ RUN      ] A.Two'\nkill -SEGV $$\n")
        self.assertEqual(done.passed, 1)
        self.assertEqual(done.failures[0][0], "A.Two")
        self.assertIn("SIGSEGV", done.failures[0][1])

    def test_an_error_after_good_tests_is_a_failure(self):
        report = REPORT.replace(', "failures": [{"failure": "a.cc:3\\n1 is not 2"}]', "")
        done = self.run_script(f"cat >$out <<'E'\n{report}\nE\necho LeakSanitizer\nexit 23\n")
        self.assertEqual(len(done.failures), 1)
        self.assertIn("exit 23", done.failures[0][1])
        self.assertIn("LeakSanitizer", done.failures[0][1])

    def test_a_program_that_hangs_is_stopped(self):
        done = self.run_script("echo '[ RUN      ] A.Slow'\nsleep 60\n", limit=0.3)
        self.assertEqual(done.failures[0][0], "A.Slow")
        self.assertIn("longer than", done.failures[0][1])

    def test_a_program_without_tests_is_a_failure(self):
        done = self.run_script("echo '{\"testsuites\": []}' >$out\n")
        self.assertEqual(done.failures, [("a_test", "holds no test")])


if __name__ == "__main__":
    unittest.main()
