"""docs/errors.md: every row names a test that exists and words that the source says."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "errors.md"
# Words that the system says, not a string of ours.
FROM_THE_SYSTEM = {"Permission denied"}


def rows():
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("|") and len(cells) == 4 and re.fullmatch(r"\w+\.\w+", cells[3]):
            yield number, cells


def literals(text):
    """The text of string literals, neighbours joined, with their escapes undone and format fields as …"""
    joined = re.sub(r'"\s*\n\s*"', "", text)
    for literal in re.findall(r'"((?:[^"\\\n]|\\.)*)"', joined):
        plain = literal.replace('\\"', '"').replace("\\n", "\n").replace("{{", "\1").replace("}}", "\2")
        yield re.sub(r"\{[^{}]*\}", "…", plain).replace("\1", "{").replace("\2", "}")


def all_words():
    files = [path for path in (ROOT / "src").rglob("*") if path.suffix in (".cc", ".hpp")]
    return "\n".join(words for path in files for words in literals(path.read_text(encoding="utf-8")))


class ErrorsPage(unittest.TestCase):
    def test_rows_name_tests_that_exist(self):
        tests = set()
        for path in (ROOT / "tests").rglob("*_test.cc"):
            tests.update(f"{suite}.{name}" for suite, name in
                         re.findall(r"^TEST(?:_[FP])?\((\w+),\s+(\w+)\)", path.read_text(encoding="utf-8"), re.M))
        found = list(rows())
        self.assertGreater(len(found), 40)
        for number, cells in found:
            self.assertTrue(cells[3] in tests, f"{PAGE.name}:{number}: {cells[3]}: no such test")

    def test_messages_are_those_of_the_source(self):
        words = all_words()
        for number, cells in rows():
            for message in re.findall(r"`([^`]+)`", cells[1]):
                for part in filter(None, (part.strip(" ,;:[]") for part in message.split("…"))):
                    self.assertTrue(part in words or part in FROM_THE_SYSTEM, f"{PAGE.name}:{number}: {part!r}")

    def test_words_that_nobody_says_are_noticed(self):
        self.assertFalse("the moon is full" in all_words())
        self.assertEqual(list(literals('fail("a {} is \\"b\\" "\n  "{{c}}; {:.3f}")')), ['a … is "b" {c}; …'])


if __name__ == "__main__":
    unittest.main()
