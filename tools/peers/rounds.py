"""What the comparisons with peers share: arms run in turn, each in a process of its own, so that what the machine does
meanwhile meets them all. An arm is a function of the round's number; it sets its `version`, stepless's also `machine`."""
import datetime
import os
import platform
import statistics
import subprocess
import sys


def output_of(words, threads):
    # Peers that take threads from the environment are given the same count as stepless.
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        sys.exit(f"{words[0]}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def version_of(result):
    build = result["build"]
    return f"stepless {build['version']} ({build['commit']}, {build['build']})"


def run_rounds(arms, rounds, told):
    """What the arms return, in lists by their names; told(result) is printed. The first round warms the file cache and does
    not count."""
    results = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            result = arm(number)
            if number > 0:
                results[name].append(result)
            print(f"round {number}: {name}: {told(result)}", file=sys.stderr)
    return results


def rates(tokens, seconds, prefix=""):
    """Median, least and most of tokens per second."""
    each = [tokens / one for one in seconds]
    return {f"{prefix}tokens_per_second": statistics.median(each), f"{prefix}least": min(each), f"{prefix}most": max(each)}


def ratios(seconds, ours, prefix=""):
    """Of the same round: the peer's time over stepless's, above 1 where stepless is faster."""
    each = [one / own for one, own in zip(seconds, ours)]
    return {f"{prefix}ratio": statistics.median(each), f"{prefix}ratio_least": min(each), f"{prefix}ratio_most": max(each)}


def envelope(bench, machine, asked, command, rows):
    """A result as `stepless bench report` reads it."""
    return {"bench": bench, "machine": {**machine, "load": os.getloadavg()[0], "system": platform.system()},
            "command": command, "date": datetime.date.today().isoformat(), "repeats": asked.r, "threads": asked.t,
            "rows": rows}
