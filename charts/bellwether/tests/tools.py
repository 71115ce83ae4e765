"""What the tests of the chart share: where things are, how commands are run, how a claim is told."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

CHART = pathlib.Path(__file__).resolve().parent.parent
WORK = tempfile.TemporaryDirectory()
CACHE = os.environ.get("BELLWETHER_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "bellwether")
os.environ["PATH"] += os.pathsep + os.path.join(CACHE, "bin")
for tool in ("helm", "kubectl"):
    if not shutil.which(tool):
        sys.exit(f"{tool} is missing: install it, or run hack/build")


def run(*command, stdin=None):
    """What a command prints; it has to succeed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command[:4])}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout


def fails(*command, stdin=None):
    """What a command complains of; it has to fail."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    assert done.returncode != 0, f"{' '.join(command)} succeeded"
    return done.stderr


def values_file(values):
    path = pathlib.Path(WORK.name, "values.json")
    path.write_text(json.dumps(values))
    return str(path)


def check(name, test, *arguments):
    try:
        test(*arguments)
    except AssertionError as failure:
        print(f"FAILED  {name}\n        {failure}")
        return False
    print(f"ok      {name}")
    return True


def spoken(function):
    return function.__name__.replace("_", " ")
