"""The files a check looks at: those git knows and those it would add; without git, all of them."""
import pathlib
import subprocess

OURS = (".cc", ".hpp", ".h", ".inc", ".cu", ".cuh")
SCRIPTS = (".py", ".sh", ".cmake")


class Skip(Exception):
    """A part cannot tell here; the text says why."""


class Tree:
    def __init__(self, root, build=None):
        self.root = pathlib.Path(root)
        self.build = pathlib.Path(build) if build else self.root / "build"
        self.paths = sorted(path for path in self._list() if (self.root / path).is_file())
        self._texts = {}

    def _list(self):
        listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=self.root,
                                capture_output=True, check=False) if (self.root / ".git").exists() else None
        if listed and listed.returncode == 0:
            return {name for name in listed.stdout.decode().split("\0") if name}
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}

    def text(self, path):
        """The text of a file; empty for one that is not text."""
        if path not in self._texts:
            raw = (self.root / path).read_bytes()
            self._texts[path] = "" if b"\0" in raw[:4096] else raw.decode("utf-8", "replace")
        return self._texts[path]

    def under(self, *folders, suffixes=None):
        """Paths in these folders, fixtures left out."""
        for path in self.paths:
            if path.startswith("tests/golden/") or not path.startswith(tuple(f"{folder}/" for folder in folders)):
                continue
            if suffixes is None or path.endswith(suffixes):
                yield path

    def code(self, *folders):
        """C++ files, scripts and CMake files in these folders; a script may have no suffix but a #! line."""
        for path in self.under(*folders):
            bare = "." not in path.rsplit("/", 1)[-1]
            if path.endswith(OURS + SCRIPTS + ("CMakeLists.txt",)) or (bare and self.text(path).startswith("#!")):
                yield path
