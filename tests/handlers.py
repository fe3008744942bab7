"""Every place where Cinder swallows an exception, found in its source.

`docs/handled-failures.md` says of each what a trace makes of it. For another release than the one
that is installed: `python -m tests.handlers …/site-packages/cinder`.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs" / "handled-failures.md"

MODULES = (
    *("backup/*.py", "compute/nova.py", "group/api.py", "image/*.py", "keymgr/*.py", "manager.py"),
    *("message/api.py", "objects/backup.py", "objects/cleanable.py", "objects/snapshot.py"),
    *("objects/volume.py", "quota.py", "quota_utils.py", "scheduler/driver.py"),
    *("scheduler/filter_scheduler.py", "scheduler/flows/*.py", "scheduler/host_manager.py"),
    *("scheduler/manager.py", "transfer/api.py", "volume/api.py", "volume/driver.py"),
    *("volume/flows/*.py", "volume/flows/*/*.py", "volume/manager.py", "volume/rpcapi.py"),
    *("volume/volume_migration.py", "volume/volume_types.py", "volume/volume_utils.py"),
)
"""All that works on a tenant's resources, except the drivers: what one of these swallows is within
its call's span. `image/format_inspector.py` looks at bytes, and is left out."""

LEFT_OUT = ("image/format_inspector.py",)

RAISES = {
    *("_reraise_translated_exception", "_reraise_translated_image_exception"),
    "process_reserve_over_quota",
}
"""Functions that always raise."""


class Place(NamedTuple):
    """Where exceptions are swallowed."""

    module: str
    function: str
    exceptions: str
    """As the source has it; `finally` for a return in such a clause."""


def places(cinder: Path) -> Counter[Place]:
    """All places in a Cinder, and how often each is there."""
    places: Counter[Place] = Counter()
    for pattern in MODULES:
        for path in cinder.glob(pattern):
            module = str(path.relative_to(cinder))
            if module not in LEFT_OUT:
                tree = ast.parse(path.read_text())
                places.update(Place(module, *handler) for handler in _within(tree, ()))
    return places


def installed() -> Path:
    """The Cinder of this virtualenv."""
    spec = find_spec("cinder")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def decided() -> dict[Place, tuple[int, str]]:
    """The docs' table: place -> how often, and the decision of its section."""
    decisions: dict[Place, tuple[int, str]] = {}
    decision = module = ""
    for line in DOCS.read_text().splitlines():
        if line.startswith("## "):
            decision = line.removeprefix("## ").partition(":")[0].lower()
        elif line.startswith("### "):
            module = line.removeprefix("### ").strip("`")
        elif line.startswith("| `"):
            function, exceptions, *_ = (cell.strip() for cell in line.strip("|").split(" | "))
            times = exceptions.partition(" × ")[2]
            place = Place(module, function.strip("`"), exceptions.partition(" × ")[0].strip("`"))
            assert place not in decisions, f"twice: {place}"
            decisions[place] = (int(times or 1), decision)
    return decisions


def _within(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        inner = names
        if isinstance(child, (ast.ClassDef, ast.FunctionDef)):
            inner = (*names, child.name)
        function = ".".join(inner)
        if isinstance(child, ast.ExceptHandler) and not _raises(child.body):
            yield function, ast.unparse(child.type) if child.type else "everything"
        if isinstance(child, ast.Try) and any(isinstance(s, ast.Return) for s in child.finalbody):
            yield function, "finally"
        if isinstance(child, ast.With):
            yield from ((function, handler) for handler in _suppressed(child))
        yield from _within(child, inner)


def _raises(body: list[ast.stmt]) -> bool:
    """True if a handler always ends in an exception."""
    for statement in body:
        if isinstance(statement, ast.Raise) or _calls_what_raises(statement):
            return True
        if isinstance(statement, ast.With) and (_reraises(statement) or _raises(statement.body)):
            return True
        if isinstance(statement, ast.If) and statement.orelse:
            if _raises(statement.body) and _raises(statement.orelse):
                return True
        if isinstance(statement, (ast.Return, ast.Continue, ast.Break)):
            return False
    return False


def _calls_what_raises(statement: ast.stmt) -> bool:
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return False
    return ast.unparse(statement.value.func).rpartition(".")[2] in RAISES


def _reraises(statement: ast.With) -> bool:
    """True for oslo's `save_and_reraise_exception`, if nothing stops it from raising."""
    for item in statement.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and "save_and_reraise_exception" in ast.unparse(call.func):
            kept = [keyword.arg for keyword in call.keywords]
            source = ast.unparse(statement)
            return "reraise" not in kept and ".reraise = False" not in source
    return False


def _suppressed(statement: ast.With) -> Iterator[str]:
    for item in statement.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "contextlib.suppress":
            yield ", ".join(ast.unparse(argument) for argument in call.args)


if __name__ == "__main__":
    known = decided() if DOCS.exists() else {}
    for place, count in sorted(places(Path(sys.argv[1])).items()):
        if known.get(place, (0, ""))[0] < count:
            print(f"undecided: {place.module} {place.function} except {place.exceptions} × {count}")
