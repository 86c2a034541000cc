"""Makes a package of user code ready to run, once: `python -E prepare.py '{"code": ..., "class_name": ..., "cache": ..., "pip": [...]}'`.

Prints one line of JSON: where the harness finds modules. What goes wrong is printed to stderr, whole, and the exit code is not 0.

A package is one of: a file `.py`; a wheel; a zip with `src/`, `deps/*.whl` and `requirements.txt`, at its top or in one directory, or just
with modules. What is installed goes to a virtual environment beside it, which sees what the machine has. Source of the layout: Pulsar's
`python_instance_main.py`.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile

UNPACKED_BYTES_MAX = 4 << 30
FILES_MAX = 100_000


def main():
    if sys.version_info < (3, 8):
        raise SystemExit("%s is Python %s; 3.8 or later is needed" % (sys.executable, sys.version.split()[0]))
    here = os.path.dirname(os.path.abspath(__file__))
    if not os.path.isdir(os.path.join(here, "_geminga", "__pycache__")):
        compile_all(here)
    asked = json.loads(sys.argv[1])
    code, class_name, cache = asked["code"], asked["class_name"], asked["cache"]
    digest = hashlib.sha256(("%s|%s|%s|" % (sys.executable, sys.version, class_name)).encode())
    with open(code, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    place = os.path.join(cache, digest.hexdigest()[:32])
    os.makedirs(cache, exist_ok=True)
    with open(place + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another instance of the same package may be at it
        ready = os.path.join(place, "ready.json")
        if not os.path.exists(ready):
            shutil.rmtree(place, ignore_errors=True)
            os.makedirs(place)
            result = prepare(code, class_name, place, asked.get("pip") or [])
            with open(ready + ".new", "w") as file:
                json.dump(result, file)
            os.replace(ready + ".new", ready)
        with open(ready) as file:
            print(file.read())


def prepare(code, class_name, place, pip):
    site = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    result = {"first": [], "last": site, "module": "", "python": os.path.realpath(sys.executable)}
    src = os.path.join(place, "src")
    if code.endswith(".whl"):
        metadata = unpack_wheel(code, src)
        result["first"] = [src]
        requirements = needed(metadata)
        if requirements:
            result["last"] = install(place, pip, requirements, None, None)
    elif zipfile.is_zipfile(code):
        top = unpack(code, os.path.join(place, "zip"))
        inner = os.path.join(top, "src")
        result["first"] = [inner if os.path.isdir(inner) else top]
        deps = os.path.join(top, "deps")
        wheels = sorted(os.path.join(deps, name) for name in os.listdir(deps)) if os.path.isdir(deps) else []
        wheels = [wheel for wheel in wheels if wheel.endswith(".whl")]
        listed = os.path.join(top, "requirements.txt")
        if os.path.isfile(listed) and has_requirements(listed):
            result["last"] = install(place, pip, ["-r", listed], deps if wheels else None, wheels)
        elif wheels:
            result["last"] = install(place, pip, wheels, deps, wheels)
        compile_all(result["first"][0])
    else:
        result["first"] = [src]
        result["module"] = single_file(code, class_name, src)
    check(class_name or result["module"], result["first"][0])
    return result


def check(class_name, src):
    """Says at once what would only be seen when the function starts: a syntax error, a class that is not there. Runs none of it."""
    import ast

    module, _, name = class_name.rpartition(".")
    path = os.path.join(src, *(module or name).split("."))
    path = next((path for path in (path + ".py", os.path.join(path, "__init__.py")) if os.path.isfile(path)), None)
    if path is None:
        return  # of what is installed, or a mistake that its start tells
    with open(path, "rb") as file:
        text = file.read()
    try:
        tree = ast.parse(text, path)
    except SyntaxError as error:
        import traceback

        raise SystemExit("".join(traceback.format_exception_only(type(error), error)).strip()) from None
    if module:
        names, classes = set(), []
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                names.add(node.name)
                classes += [node.name] if isinstance(node, ast.ClassDef) else []
            elif isinstance(node, ast.alias):
                names.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.Name):
                names.add(node.id)
        if name not in names and "*" not in names:
            raise SystemExit("className %s: module %s has no %s; its classes: %s" % (class_name, module, name, ", ".join(classes) or "none"))


def single_file(code, class_name, src):
    """Puts a file where a module of the name in `class_name` is found; the file's own name may have been lost on the way."""
    stem = os.path.basename(code)
    stem = stem[:-3] if stem.endswith(".py") else stem
    names = {stem} if stem.isidentifier() else set()
    module = class_name.rpartition(".")[0]
    if module and all(part.isidentifier() for part in module.split(".")):
        names.add(module)
    if class_name and "." not in class_name and class_name.isidentifier() and not names:
        names.add(class_name)
    if not names:
        names.add("function")
    for name in names:
        path = os.path.join(src, *name.split(".")) + ".py"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copyfile(code, path)
    compile_all(src)
    return stem if stem in names else sorted(names)[0]


def compile_all(directory):
    """So that the first instance starts as quickly as the others. What does not compile is told when it is imported."""
    import compileall

    compileall.compile_dir(directory, quiet=2)


def unpack(archive, target):
    """Unpacks a zip; returns its top, or the one directory in it."""
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


def install(place, pip, what, deps, wheels):
    """Installs into a virtual environment that sees the machine's packages; returns the path of its modules."""
    venv = os.path.join(place, "venv")
    run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", venv], "make a virtual environment")
    python = os.path.join(venv, "bin", "python")
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        if not wheels or any(not word.endswith(".whl") for word in what):
            raise SystemExit("pip is not installed for %s, so nothing can be installed: %s" % (sys.executable, " ".join(what)))
        site = os.path.join(place, "site")  # wheels alone can be unpacked
        for wheel in wheels:
            unpack_wheel(wheel, site)
        return [site] + [entry for entry in sys.path if entry]
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    offline = command + ["--no-index", "--find-links", deps] + what if deps else None
    online = command + (["--find-links", deps] if deps else []) + pip + what
    if offline is None or subprocess.run(offline, capture_output=True).returncode != 0:
        run(online, "install what it requires")
    shown = subprocess.run([python, "-E", "-c", "import json, sys; print(json.dumps(sys.path[1:]))"], capture_output=True, check=True)
    return json.loads(shown.stdout)


def run(command, what):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        output = result.stdout.decode("utf-8", "replace")
        raise SystemExit("could not %s: %s\n%s" % (what, " ".join(command), output))


if __name__ == "__main__":
    main()
