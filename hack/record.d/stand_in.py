"""Lets the modules of a model server that count be loaded without the rest of it, which needs a GPU's libraries."""
import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder


class AnyClass(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyClass(name, (Nothing,), {})


class Nothing(metaclass=AnyClass):
    """Whatever is asked of it."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()

    def __bool__(self):
        return False

    def __iter__(self):
        return iter(())


class Empty(Loader):
    """Modules whose names all mean nothing, but for those of modules that are themselves."""

    def __init__(self, real):
        self.real = real

    def exec_module(self, module):
        def named(name):
            whole = f"{module.__name__}.{name}"
            return import_module(whole) if whole in self.real else getattr(Nothing, name)

        module.__getattr__ = named


class Finder(MetaPathFinder):
    def __init__(self, real, absent):
        self.real, self.roots = real, {name.split(".")[0] for name in real} | set(absent)

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.roots:
            return None
        if name in self.real:
            return PathFinder.find_spec(name, path)
        spec = ModuleSpec(name, Empty(self.real), is_package=True)
        # The folder of a package is known without its own code.
        there = PathFinder.find_spec(name, path)
        spec.submodule_search_locations = list(there.submodule_search_locations or []) if there else []
        return spec


def load(real, absent=()):
    """Of their packages only these modules are themselves; what they import else of them, or of what is absent, is nothing."""
    sys.meta_path.insert(0, Finder(set(real), absent))
