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


def command_lines(page):
    """The lines of the page's plain fences, in order; ```text is output, not commands."""
    lines, fence = [], None
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fence = line if fence is None else None
        elif fence == "```":
            lines.append(line)
    return lines


@unittest.skipUnless((BUILD / "bin/stepless").is_file(), "the command line is not built")
class Examples(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stepless-docs-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def shell(self, line, where=None):
        return subprocess.run(["bash", "-c", "set -eo pipefail\n" + line], cwd=where or self.folder, stdin=subprocess.DEVNULL,
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
        for command in self.commands():
            where = self.folder / command  # examples of one command build on each other, not on others'
            where.mkdir()
            (where / "tales.txt").write_text("Once upon a time there was a king who had a fox.\n" * 40, encoding="utf-8")
            shown = self.shell(f"stepless {command} --help").stdout
            examples = re.findall(r"^  (stepless .+)$", shown.split("Examples:")[1], re.M)
            self.assertEqual(len(examples), 3, shown)
            for line in examples:
                if line == "stepless selftest":
                    continue  # tests/cli runs it
                with self.subTest(line=line):
                    done = self.shell(line, where)
                    self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
