"""What the pages say a user can type works: the fenced lines of docs/commands, and the examples of every --help."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("STEPLESS_TEST_BUILD", ROOT / "build/dev"))
PAGES = ROOT / "docs/commands"
FENCE = re.compile(r"^```\n(.*?)^```$", re.M | re.S)  # ```text is output, not a command


def command_lines(page):
    """The lines of the page's plain fences, in order."""
    return [line for block in FENCE.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]


@unittest.skipUnless((BUILD / "bin/stepless").is_file(), "the command line is not built")
class Examples(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stepless-docs-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def shell(self, line):
        return subprocess.run(["bash", "-c", "set -eo pipefail\n" + line], cwd=self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              env={"PATH": f"{BUILD}/bin:/usr/bin:/bin", "HOME": str(self.folder)})

    def commands(self):
        listed = self.shell("stepless man --markdown").stdout
        return re.findall(r"^## (\S+)$", listed, re.M)

    def test_each_command_has_a_page_and_each_page_a_command(self):
        self.assertEqual(sorted(self.commands()), sorted(page.stem for page in PAGES.glob("*.md")))

    def test_the_examples_of_the_pages_run(self):
        for page in sorted(PAGES.glob("*.md")):
            lines = command_lines(page)
            self.assertTrue(lines, f"{page.name}: no example")
            for line in lines:
                with self.subTest(page=page.name, line=line):
                    self.assertIn("stepless" if "printf" not in line.split()[0] else "printf", line)
                    done = self.shell(line)
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_each_help_has_three_examples_that_run(self):
        (self.folder / "tales.txt").write_text("Once upon a time there was a king who had a fox.\n" * 40, encoding="utf-8")
        for command in self.commands():
            shown = self.shell(f"stepless {command} --help").stdout
            examples = re.findall(r"^  (stepless .+)$", shown.split("Examples:")[1], re.M)
            self.assertEqual(len(examples), 3, shown)
            for line in examples:
                if line == "stepless selftest" or line in command_lines(PAGES / f"{command}.md"):
                    continue  # tests/cli runs the one, the test above the other
                with self.subTest(line=line):
                    done = self.shell(line)
                    self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
