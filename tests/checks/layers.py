#!/usr/bin/env python3
"""Checks the include graph of include/qnt: an include points downwards or stays in its layer, what is compiled once per instruction
set includes nothing, core.hpp stays light, and no file is too long. A new file that no line of LAYERS covers is an error."""
import pathlib
import re
import sys

LAYERS = [  # (layer, what is in it): folders end with '/'
    (0, "core/"),
    (1, "code/ scaling/ packed/ format.hpp format_name.hpp activations.hpp core.hpp"),
    (2, "isa/"),
    (3, "kernels/"),
    (4, "quantize.hpp matmul.hpp any_format.hpp explain.hpp report.hpp thread_pool.hpp metrics/ io/"),
    (5, "nn/ model/ qnt.hpp"),
    (6, "cuda/ metal/ cuda.hpp cuda.cuh metal.hpp"),
]
KERNEL_CODES = "kernels/codes.inl"  # the one .inl file that includes: the SIMD sections of code/
HEAVY = re.compile(r"\w*intrin\.h|arm_\w+\.h|thread|mutex|functional|iostream")  # not for core.hpp
MAX_LINES = 800

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
LIBRARY = INCLUDE / "qnt"


def layer(path):
    name = path.relative_to(LIBRARY).as_posix()
    for number, names in LAYERS:
        if any(name.startswith(n) if n.endswith("/") else name == n for n in names.split()):
            return number
    return None


def includes(path):
    """(line number, text between the brackets, is it in code for one instruction set?) of every include; macro includes have no text."""
    simd = []  # one entry per open #if: does this branch need QNT_ISA to be defined? None: it does not ask
    region = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("QNT_REGION_"):
            region = line.startswith("QNT_REGION_BEGIN")
        directive = re.match(r"\s*#\s*(\w+)\s*(.*)", line)
        if not directive:
            continue
        word, rest = directive.groups()
        if word in ("if", "ifdef", "ifndef"):
            asks = re.match(r"(?P<no>!\s*)?(defined\s*\(?\s*)?QNT_ISA\b", rest)
            simd.append((word == "ifndef") == bool(asks["no"]) if asks else None)
        elif word in ("else", "elif") and simd[-1] is not None:
            simd[-1] = not simd[-1]
        elif word == "endif":
            simd.pop()
        elif word == "include":
            name = re.match(r'["<]([^">]+)[">]', rest)
            yield number, name[1] if name else None, region or True in simd


def resolve(path, name):
    for candidate in (path.parent / name, INCLUDE / name):
        if candidate.is_file():
            return candidate.resolve()
    return None


def reached(start):
    """Every include, also indirect, of a file: (includer, line, text)."""
    seen, open_files = {start}, [start]
    while open_files:
        path = open_files.pop()
        for number, name, _ in includes(path):
            yield path, number, name
            target = name and resolve(path, name)
            if target and target not in seen:
                seen.add(target)
                open_files.append(target)


def main():
    errors = []

    def error(path, line, text):
        errors.append(f"{path.relative_to(ROOT)}:{line}: {text}")

    files = sorted(p for p in LIBRARY.rglob("*") if p.suffix in (".hpp", ".inl", ".cuh"))
    count = 0
    for path in files:
        own = layer(path)
        if own is None:
            error(path, 1, "belongs to no layer: add it to LAYERS in tests/checks/layers.py")
        for number, name, in_simd in includes(path):
            count += 1
            target = name and resolve(path, name)
            if target is None and name and name.startswith("qnt/"):
                error(path, number, f"{name} does not exist")
            if target and own is not None and (layer(target) or 0) > own:
                error(path, number, f"layer {own} includes {target.relative_to(INCLUDE)} of layer {layer(target)}")
            is_code = path == LIBRARY / KERNEL_CODES and target and target.parent.name == "code"
            if (in_simd and name) or (path.suffix == ".inl" and not is_code):
                error(path, number, "code for one instruction set includes nothing: what it uses comes from isa/intrinsics.hpp")
    if (LIBRARY / "core.hpp").is_file():
        for path, number, name in reached(LIBRARY / "core.hpp"):
            if name and HEAVY.fullmatch(name):
                error(path, number, f"core.hpp must not reach <{name}>")
    else:
        errors.append("include/qnt/core.hpp does not exist")

    sources = [p for top in ("include", "tests", "examples", "bench") for p in (ROOT / top).rglob("*")]
    for path in sources:
        if path.suffix in (".hpp", ".cpp", ".inl", ".cuh", ".cu", ".h"):
            lines = len(path.read_text().splitlines())
            if lines > MAX_LINES:
                error(path, lines, f"{lines} lines, the limit is {MAX_LINES}")

    print("\n".join(errors + [f"layers: {len(files)} files, {count} includes, {len(errors)} errors"]))
    return 1 if errors or not files else 0


sys.exit(main())
