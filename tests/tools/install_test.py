"""What make install copies works after being moved, knows nothing of the tree it came from, and is self-contained."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("STEPLESS_TEST_BUILD", ROOT / "build/dev"))


@unittest.skipUnless((BUILD / "cmake_install.cmake").exists(), "no build to install from")
class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="stepless-install-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        subprocess.run(["cmake", "--install", str(BUILD), "--prefix", str(cls.folder / "first")], check=True,
                       capture_output=True)
        cls.prefix = cls.folder / "moved" / "here"
        cls.prefix.parent.mkdir()
        (cls.folder / "first").rename(cls.prefix)

    def stepless(self, *words):
        binary = self.prefix / "bin/stepless"
        if not binary.exists():
            self.skipTest("the command line is not built")
        return subprocess.run([str(binary), *words], cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder)})

    def test_the_moved_binary_finds_its_model(self):
        done = self.stepless("info", "--model", "demo")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("qwen3", done.stdout)

    def test_the_binary_remembers_no_source_tree(self):
        models = self.prefix / "share/stepless/models"
        models.rename(self.folder / "away")
        try:
            done = self.stepless("info", "--model", "demo")
        finally:
            (self.folder / "away").rename(models)
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        self.assertIn("demo", done.stderr)

    def test_both_demo_models_are_there(self):
        for name in ("tale-4bit", "tale-draft-4bit"):
            for file in ("config.json", "model.safetensors", "tokenizer.json"):
                self.assertTrue((self.prefix / "share/stepless/models" / name / file).is_file(), f"{name}/{file}")

    def test_manual_pages_and_completions_are_there(self):
        if not (self.prefix / "bin/stepless").exists():
            self.skipTest("the command line is not built")
        for path in ("man/man1/stepless.1", "man/man1/stepless-generate.1", "bash-completion/completions/stepless",
                     "zsh/site-functions/_stepless", "fish/vendor_completions.d/stepless.fish"):
            self.assertTrue((self.prefix / "share" / path).is_file(), path)
        shell = (self.prefix / "share/bash-completion/completions/stepless").read_text(encoding="utf-8")
        self.assertEqual(shell, self.stepless("completion", "bash").stdout)

    def test_each_public_header_stands_alone(self):
        headers = sorted((self.prefix / "include/stepless").glob("*.hpp"))
        self.assertTrue(headers)
        for header in headers:
            done = subprocess.run(["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I",
                                   str(self.prefix / "include"), "-x", "c++", "-"],
                                  input=f"#include <stepless/{header.name}>\nint main() {{}}\n", capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
