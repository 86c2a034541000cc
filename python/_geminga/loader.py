"""Finds user code by the names a function was created with. Source of the rules: `util.import_class` of Pulsar's Python instance."""

import sys


def import_class(full_name):
    """`package.module.Class`, or a module. What is not in the user's code may be of `pulsar.functions`, as `serde.IdentitySerDe` is."""
    module, _, name = full_name.rpartition(".")
    try:
        return _import(module, name)
    except ImportError as error:
        # The user's own mistake inside of a module that is there is not hidden by a second attempt.
        if error.name is None or not full_name.startswith(error.name):
            raise
        try:
            return _import("pulsar.functions." + module if module else "pulsar.functions." + name, name if module else "")
        except ImportError:
            raise error


def _import(module, name):
    if not module:
        return __import__(name)
    __import__(module)
    module = sys.modules[module]
    if not name:
        return module
    try:
        return getattr(module, name)
    except AttributeError:
        raise ImportError("%s has no %s" % (module.__name__, name), name=module.__name__) from None


class Code:
    """User code, ready to be called."""

    def __init__(self, process, takes_context, is_async, close):
        self.process = process
        self.takes_context = takes_context
        self.is_async = is_async
        self.close = close


def load(class_name, stem):
    """The code named `class_name`; when that is empty, what the module `stem` offers."""
    return _code(find(class_name, stem, "process"), class_name or stem)


def find(class_name, stem, method):
    """What is named `class_name`; when that is empty, what has `method` in the module `stem`."""
    if class_name:
        found = import_class(class_name)
        if "." not in class_name:  # a module, or what has the same name in a single file
            found = getattr(found, class_name, found)
        return found
    return _only_one(_import("", stem), method)


def _only_one(module, method):
    from pulsar import Function

    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    classes = [value for value in own if isinstance(value, type) and hasattr(value, method)]
    functions = [value for value in classes if issubclass(value, Function)] or classes
    if callable(getattr(module, method, None)):
        return module
    if len(functions) == 1:
        return functions[0]
    raise ImportError("className is needed: %s has %d classes with a method %s" % (module.__name__, len(functions), method))


def _code(found, name):
    target = found
    if isinstance(found, type):
        target = found()  # what its constructor throws is shown as the reason why it does not start
    process = getattr(target, "process", None)
    of_class = isinstance(found, type)
    if not callable(process):
        process = target
        of_class = False
        if not callable(process):
            raise TypeError("%s is neither a class with a method process, nor a module with one, nor a function" % name)
    takes_context = True if of_class else _takes_two(process)
    return Code(process, takes_context, _is_async(process), getattr(target, "close", None) if of_class else None)


def _takes_two(function):
    code = getattr(function, "__code__", None)
    if code is None:
        import inspect

        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return False  # a builtin such as str.upper
        kinds = [parameter.kind for parameter in parameters]
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            return True
        return sum(kind in (0, 1) for kind in kinds) >= 2
    bound = 1 if hasattr(function, "__self__") else 0
    return code.co_argcount - bound >= 2 or bool(code.co_flags & 0x04)


def _is_async(function):
    function = getattr(function, "__func__", function)
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    call = function if hasattr(function, "__code__") else getattr(type(function), "__call__", None)
    flags = getattr(getattr(call, "__code__", None), "co_flags", 0)
    return bool(flags & 0x280)  # a coroutine, or an asynchronous generator
