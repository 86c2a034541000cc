"""Makes a package of user code ready to run, once: `python -S -E prepare.py '{"code": ..., "class_name": ..., "place": ...}'`.

Prints one line of JSON: where the harness finds modules. What goes wrong is printed to stderr, whole, and the exit code is not 0.

A package is one of: a file `.py`; a wheel; a zip with `src/`, `deps/*.whl` and `requirements.txt`, at its top or in one directory, or just
with modules. What is installed goes to a virtual environment beside it, which sees what the machine has. Source of the layout: Pulsar's
`python_instance_main.py`.

`python -E prepare.py` alone prints what the interpreter is, and compiles the harness. A function is created faster than most modules are
loaded; so what only some packages need is imported where they do.
"""

import fcntl
import json
import os
import sys

UNPACKED_BYTES_MAX = 4 << 30
FILES_MAX = 100_000


def main():
    if len(sys.argv) == 1:
        probe()
        return
    asked = json.loads(sys.argv[1])
    code, class_name, place = asked["code"], asked["class_name"], asked["place"]
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another instance of the same package may be at it
        ready = os.path.join(place, "ready.json")
        if not os.path.exists(ready):
            if os.path.exists(place):  # half done, when something was killed
                import shutil

                shutil.rmtree(place)
            os.makedirs(place)
            result = prepare(code, class_name, place, asked["site"], asked["pip"])
            with open(ready + ".new", "w") as file:
                json.dump(result, file)
            os.replace(ready + ".new", ready)
        with open(ready) as file:
            print(file.read())


def probe():
    """What a normal start of this interpreter finds out. The real file comes with it: what is on the path may only look for one."""
    here = os.path.dirname(os.path.abspath(__file__))
    compile_all(here)
    site = [entry for entry in sys.path if entry and os.path.abspath(entry) != here]
    print(json.dumps({"python": os.path.realpath(sys.executable), "version": sys.version_info[:2], "site": site}))


def prepare(code, class_name, place, site, pip):
    result = {"first": [os.path.join(place, "src")], "last": site, "module": ""}
    if is_wheel(code):
        requirements = needed(unpack_wheel(code, result["first"][0]))
        if requirements:
            result["last"] = install(place, site, pip, requirements, None, None)
    elif is_zip(code):
        top = unpack(code, os.path.join(place, "zip"))
        inner = os.path.join(top, "src")
        result["first"] = [inner if os.path.isdir(inner) else top]
        deps = os.path.join(top, "deps")
        wheels = sorted(os.path.join(deps, name) for name in os.listdir(deps)) if os.path.isdir(deps) else []
        wheels = [wheel for wheel in wheels if wheel.endswith(".whl")]
        listed = os.path.join(top, "requirements.txt")
        if os.path.isfile(listed) and has_requirements(listed):
            result["last"] = install(place, site, pip, ["-r", listed], deps if wheels else None, wheels)
        elif wheels:
            result["last"] = install(place, site, pip, wheels, deps, wheels)
        compile_all(result["first"][0])
    else:
        result["module"] = single_file(code, class_name, result["first"][0])
    check(class_name or result["module"], result["first"][0])
    return result


def is_wheel(path):
    """By its name, or where that was lost, by what is in it."""
    if not is_zip(path) or path.endswith(".zip"):
        return False
    import zipfile

    with zipfile.ZipFile(path) as file:
        return any(name.count("/") == 1 and name.endswith(".dist-info/WHEEL") for name in file.namelist())


def is_zip(path):
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6")


def check(class_name, src):
    """Says at once what would only be seen when the function starts: a syntax error, a class that is not there. Runs none of it."""
    module, _, name = class_name.rpartition(".")
    path = os.path.join(src, *(module or name).split("."))
    path = next((path for path in (path + ".py", os.path.join(path, "__init__.py")) if os.path.isfile(path)), None)
    if path is None:
        return  # of what is installed, or a mistake that its start tells
    with open(path, "rb") as file:
        text = file.read()
    try:
        tree = compile(text, path, "exec", 0x400, True)  # ast.PyCF_ONLY_AST
    except (SyntaxError, ValueError) as error:
        import traceback

        raise SystemExit("".join(traceback.format_exception_only(type(error), error)).strip()) from None
    if not module:
        return
    names, classes, nodes = set(), [], [tree]
    while nodes:
        node = nodes.pop()
        kind = type(node).__name__
        if kind in ("ClassDef", "FunctionDef", "AsyncFunctionDef"):
            names.add(node.name)
            classes += [node.name] if kind == "ClassDef" else []
        elif kind == "alias":
            names.add((node.asname or node.name).split(".")[0])
        elif kind == "Name":
            names.add(node.id)
        for field in node._fields:
            value = getattr(node, field, None)
            nodes += [inner for inner in (value if isinstance(value, list) else [value]) if hasattr(inner, "_fields")]
    if name not in names and "*" not in names:
        found = ", ".join(sorted(classes)) or "none"
        raise SystemExit("className %s: module %s has no %s; its classes: %s" % (class_name, module, name, found))


def single_file(code, class_name, src):
    """Puts a file where a module of the name in `class_name` is found; the file's own name may have been lost on the way."""
    stem = os.path.basename(code)
    stem = stem[:-3] if stem.endswith(".py") else stem
    names = {stem} if stem.isidentifier() else set()
    module = class_name.rpartition(".")[0]
    if module and all(part.isidentifier() for part in module.split(".")):
        names.add(module)
    elif class_name.isidentifier():
        names.add(class_name)
    if not names:
        names.add("function")
    for name in names:
        path = os.path.join(src, *name.split(".")) + ".py"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(code, "rb") as file, open(path, "wb") as copy:
            copy.write(file.read())
    return stem if stem in names else sorted(names)[0]


def compile_all(directory):
    """So that the first instance starts as quickly as the others. What does not compile is told when it is imported."""
    import compileall  # which is as quick as reading file times when all is compiled

    compileall.compile_dir(directory, quiet=2)


def unpack(archive, target):
    """Unpacks a zip; returns its top, or the one directory in it."""
    import zipfile

    with zipfile.ZipFile(archive) as file:
        entries = file.infolist()
        if len(entries) > FILES_MAX or sum(entry.file_size for entry in entries) > UNPACKED_BYTES_MAX:
            raise SystemExit("%s: more than %d files or %d bytes" % (archive, FILES_MAX, UNPACKED_BYTES_MAX))
        file.extractall(target)
    inside = [name for name in os.listdir(target) if name not in ("__MACOSX", ".DS_Store")]
    known = {"src", "deps", "requirements.txt"}
    if len(inside) == 1 and not known & set(inside) and not os.path.isfile(os.path.join(target, inside[0], "__init__.py")):
        inner = os.path.join(target, inside[0])
        if os.path.isdir(inner) and known & set(os.listdir(inner)):
            return inner
    return target


def unpack_wheel(wheel, target):
    """Puts a wheel's modules into a directory; returns the text of its METADATA."""
    import shutil

    unpack(wheel, target)
    metadata = ""
    for name in os.listdir(target):
        path = os.path.join(target, name)
        if name.endswith(".dist-info"):
            try:
                with open(os.path.join(path, "METADATA"), encoding="utf-8") as file:
                    metadata = file.read()
            except FileNotFoundError:
                pass
        elif name.endswith(".data"):
            for kind in ("purelib", "platlib"):
                inner = os.path.join(path, kind)
                if os.path.isdir(inner):
                    shutil.copytree(inner, target, dirs_exist_ok=True)
    compile_all(target)
    return metadata


def needed(metadata):
    """What a wheel requires, without what only its extras do."""
    lines = metadata.split("\n\n", 1)[0].splitlines()
    requirements = [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("requires-dist:")]
    return [requirement for requirement in requirements if "extra ==" not in requirement.replace("extra==", "extra ==")]


def has_requirements(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return any(line.strip() and not line.strip().startswith("#") for line in file)


def install(place, machine, pip, what, deps, wheels):
    """Installs into a virtual environment that sees the machine's packages; returns the path of its modules."""
    import subprocess

    venv = os.path.join(place, "venv")
    run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", venv], "make a virtual environment")
    python = os.path.join(venv, "bin", "python")
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        if not wheels or any(not word.endswith(".whl") for word in what):
            raise SystemExit("pip is not installed for %s, so nothing can be installed: %s" % (sys.executable, " ".join(what)))
        site = os.path.join(place, "site")  # wheels alone can be unpacked
        for wheel in wheels:
            unpack_wheel(wheel, site)
        return [site] + machine
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    offline = command + ["--no-index", "--find-links", deps] + what if deps else None
    online = command + (["--find-links", deps] if deps else []) + pip + what
    nowhere = subprocess.DEVNULL
    if offline is None or subprocess.run(offline, stdout=nowhere, stderr=nowhere).returncode != 0:
        run(online, "install what it requires")
    shown = subprocess.run([python, "-E", "-c", "import json, sys; print(json.dumps(sys.path[1:]))"], capture_output=True, check=True)
    installed = json.loads(shown.stdout)
    return installed + [entry for entry in machine if entry not in installed]


def run(command, what):
    import subprocess

    # What it prints is as long as it likes, and whoever reads our stderr keeps the end of it.
    if subprocess.run(command, stdout=sys.stderr.fileno()).returncode != 0:
        raise SystemExit("could not %s: %s" % (what, " ".join(command)))


if __name__ == "__main__":
    main()
