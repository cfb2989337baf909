"""names: no path of somebody's machine, no private address, no host that is not a public one known to this project."""
import re

# Written in pieces, so that this file passes its own check.
MACHINE = re.compile(r"(?<![\w.$}>-])/(?:" + "|".join(("ro" + "ot", "ho" + "me", "wo" + "rk", "Us" + "ers")) + r")/[\w.-]*")
PRIVATE = re.compile(r"\b(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b")
URL = re.compile(r"\b(?:https?|ssh|git)://([\w.-]+)")
KNOWN_HOSTS = re.compile(
    r"(?:.*\.)?(?:github\.com|apache\.org|debian\.org|huggingface\.co|python\.org|pypi\.org|cmake\.org|json-schema\.org"
    r"|w3\.org|example\.(?:com|org)|openai\.com|keepachangelog\.com|semver\.org|llvm\.org|gnu\.org|unicode\.org)"
    r"|localhost|127\.0\.0\.1|0\.0\.0\.0|\.*")


def check(tree):
    problems = []
    for path in tree.paths:
        if path.startswith(("tests/golden/", "models/")):
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            found = [f"{hit} is a path of one machine" for hit in MACHINE.findall(line)]
            found += [f"{hit} is a private address" for hit in PRIVATE.findall(line)]
            found += [f"host {host} is not in the list of tools/checks/names.py" for host in URL.findall(line)
                      if not KNOWN_HOSTS.fullmatch(host)]
            problems += [f"{path}:{number}: {text}" for text in found]
    return problems
