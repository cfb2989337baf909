"""The completions load in their shells and complete; the manual pages are roff that man can read."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("STEPLESS_TEST_BUILD", ROOT / "build/dev"))
BINARY = BUILD / "bin/stepless"


@unittest.skipUnless(BINARY.is_file(), "the command line is not built")
class Completion(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stepless-completion-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = {"PATH": f"{BUILD}/bin:/usr/bin:/bin", "HOME": str(self.folder)}

    def script(self, shell):
        done = subprocess.run([str(BINARY), "completion", shell], capture_output=True, text=True, check=True,
                              env=self.environment)
        path = self.folder / shell
        path.write_text(done.stdout, encoding="utf-8")
        return path

    def bash(self, *words):
        """What bash offers for the last word."""
        quoted = " ".join(f"'{word}'" for word in words)
        program = (f"source '{self.script('bash')}'\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n_stepless\n"
                   "printf '%s\\n' \"${COMPREPLY[@]}\"\n")
        done = subprocess.run(["bash", "-c", program], cwd=self.folder, capture_output=True, text=True, check=False,
                              env=self.environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_bash_completes_commands_flags_values_and_models(self):
        self.assertEqual(self.bash("stepless", "gen"), ["generate"])
        self.assertIn("--max-tokens", self.bash("stepless", "generate", "--max"))
        self.assertNotIn("--max-tokens", self.bash("stepless", "info", "--max"))
        self.assertEqual(self.bash("stepless", "generate", "--act-dtype", "b"), ["bfloat16"])
        self.assertEqual(self.bash("stepless", "generate", "--act-dtype", "=", "b"), ["bfloat16"])
        self.assertEqual(self.bash("stepless", "generate", "--act-dtype", "="), ["auto", "float32", "float16", "bfloat16"])
        self.assertEqual(set(self.bash("stepless", "chat", "--model", "tale")), {"tale-4bit", "tale-draft-4bit"})
        self.assertEqual(self.bash("stepless", "completion", "z"), ["zsh"])
        self.assertEqual(self.bash("stepless", "generate", "--prompt", ""), [])

    def test_refused_flags_are_not_offered(self):
        self.assertNotIn("--adapter-path", self.bash("stepless", "generate", "--"))

    def test_each_shell_parses_its_script(self):
        for shell in ("bash", "zsh", "fish"):
            path = self.script(shell)
            with self.subTest(shell=shell):
                if not shutil.which(shell):
                    self.skipTest(f"{shell} is not installed")
                done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish_completes(self):
        done = subprocess.run(["fish", "-c", f"source {self.script('fish')}; complete -C 'stepless generate --max-t'"],
                              capture_output=True, text=True, check=False, env=self.environment)
        self.assertIn("--max-tokens", done.stdout)

    def test_an_unknown_shell_is_refused(self):
        done = subprocess.run([str(BINARY), "completion", "csh"], capture_output=True, text=True, check=False,
                              env=self.environment)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("csh", done.stderr)


@unittest.skipUnless(BINARY.is_file(), "the command line is not built")
class ManPages(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stepless-man-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def man(self, *words):
        return subprocess.run([str(BINARY), "man", *words], capture_output=True, text=True, check=False,
                              env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder)})

    def test_dir_writes_a_page_per_command(self):
        self.assertEqual(self.man("--dir", str(self.folder / "man1")).returncode, 0)
        names = {path.name for path in (self.folder / "man1").iterdir()}
        self.assertTrue({"stepless.1", "stepless-generate.1", "stepless-chat.1"} <= names, names)
        self.assertEqual((self.folder / "man1/stepless-chat.1").read_text(), self.man("chat").stdout)

    def test_no_such_command(self):
        done = self.man("generte")
        self.assertEqual((done.returncode, done.stdout), (2, ""))

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_groff_reads_every_page_without_a_warning(self):
        self.man("--dir", str(self.folder / "man1"))
        for page in sorted((self.folder / "man1").iterdir()):
            done = subprocess.run(["groff", "-man", "-Tutf8", "-wall", "-z", str(page)], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.stderr, "", page.name)


if __name__ == "__main__":
    unittest.main()
