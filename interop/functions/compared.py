"""Runs the commands that docs/autoscaling-compared.md shows, and writes below each what it says and how its plots look now.

Usage: compared.py --broker BINARY [--real FILE]

Commands of `geminga` are run from the repository's root; what `elasticity.py` printed is taken from FILE, since it takes half an hour.
"""

import argparse
import os
import re
import shlex
import subprocess

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PAGE = os.path.join(ROOT, "docs", "autoscaling-compared.md")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--real")
    args = parser.parse_args()

    def run(block):
        line = block.group(1)
        program, *rest = shlex.split(line)
        if program == "geminga":
            said = subprocess.run([args.broker, *rest], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        elif args.real:
            with open(args.real) as file:
                said = file.read()
        else:
            return block.group(0)
        return f"```console\n$ {line}\n{said.rstrip()}\n```"

    with open(PAGE) as file:
        page = file.read()
    page = re.sub(r"```console\n\$ ([^\n]*)\n.*?```", run, page, flags=re.DOTALL)
    with open(PAGE, "w") as file:
        file.write(page)
    images = os.path.join(ROOT, "docs", "images")
    for plot in os.listdir(images):
        if plot.endswith(".svg") and plot not in page:
            os.remove(os.path.join(images, plot))


if __name__ == "__main__":
    main()
