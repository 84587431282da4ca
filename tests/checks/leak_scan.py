#!/usr/bin/env python3
"""Reads x86-64 machine code and finds instructions in functions that must not hold them.

    leak_scan.py object FILE.o           compiled without -m flags: instructions beyond the baseline stand in the namespaces of their
                                         instruction set alone
    leak_scan.py kernels FILE.o          compiled with -O2: the kernels hold the registers they were written for
    leak_scan.py linked PROGRAM BASE.o   a program of units with different flags: a function of namespace qnt with instructions beyond
                                         the baseline carries an instruction set or a tag that BASE.o does not have, so that no unit
                                         without flags can end up with it
"""
import re
import subprocess
import sys

ISAS = ("avx2", "avxvnni", "avx512", "avx512vnni", "amx_int8")
NO_EVEX = ("avx2", "avxvnni")
KERNELS = ("int8_tile", "block_tile", "int8_tiled_block", "exact_tile")  # names of kernels, or parts of them

# How an instruction begins, after segment and address-size prefixes. In 64-bit code C4, C5 and 62 are VEX and EVEX and nothing else;
# 0F 38 and 0F 3A hold SSSE3, SSE4 and later; F3 0F B8 and BD are popcnt and lzcnt.
SKIPPED = r"(?:(?:26|2e|36|3e|64|65|67) )*"
BEYOND = re.compile(SKIPPED + r"(?:c4 |c5 |62 |(?:(?:66|f2|f3|4.) )*0f (?:38|3a) |f3 (?:4. )?0f b[8d] )")
EVEX = re.compile(SKIPPED + r"62 ")


class function:
    def __init__(self, symbol):
        self.symbol, self.beyond, self.evex, self.registers = symbol, "", "", set()
        self.path = nested_name(symbol)
        self.isa = next((name for name in self.path if name in ISAS), None) if "isa" in self.path else None
        self.tags = {name for name in self.path if name.startswith("b_")}


def nested_name(symbol):
    """_ZN3qnt3isa8b_x86_644avx24gemvI... -> [qnt, isa, b_x86_64, avx2, gemv]; [] for what is not in a namespace. A lambda counts as
    the function around it."""
    start = re.match(r"_Z+(?:GV|T[A-Z]|L)?N[KVrRO]*", symbol)
    rest, names = symbol[start.end():] if start else "", []
    while length := re.match(r"\d+", rest):
        end = length.end() + int(length[0])
        names.append(rest[length.end():end])
        rest = rest[end:]
    return names


def functions(path):
    text = subprocess.run(["objdump", "-dw", path], check=True, capture_output=True, text=True).stdout
    found = None
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if found:
                yield found
            found = function(head[1])
        elif found and (code := re.match(r"\s+[0-9a-f]+:\t((?:[0-9a-f]{2} )+)\s*\t?(.*)", line)):
            if BEYOND.match(code[1]):
                found.beyond = found.beyond or code[2]
                found.evex = found.evex or (code[2] if EVEX.match(code[1]) else "")
                found.registers.update(re.findall(r"%(xmm|ymm|zmm|tmm)", code[2]))
    if found:
        yield found


def scan_object(path):
    """The errors of an object file: (symbol, text)."""
    for f in functions(path):
        if f.beyond and not f.isa:
            yield f.symbol, f"beyond the baseline: {f.beyond}"
        if f.evex and f.isa in NO_EVEX:
            yield f.symbol, f"AVX-512 inside {f.isa}: {f.evex}"


def scan_kernels(path):
    """The errors of an optimized object file: (symbol, text). A kernel is a function, its lambdas and its split-off parts."""
    all_functions = list(functions(path))
    for kernel in KERNELS:
        bodies = [f for f in all_functions if re.fullmatch(r"_ZN\w+", f.symbol) and f.isa and kernel in f.path[-1]]
        for body in bodies:
            parts = (body.symbol, body.symbol + ".", "_ZZ" + body.symbol[2:] + "E")
            registers = set().union(*(f.registers for f in all_functions if f.symbol == parts[0] or f.symbol.startswith(parts[1:])))
            wide = "ymm" if body.isa in NO_EVEX else "tmm" if kernel == "int8_tiled_block" else "zmm"
            if wide not in registers:
                yield body.symbol, f"a kernel of {body.isa} without {wide} registers"
        if not bodies:
            yield path, f"holds no kernel named {kernel}: nothing was checked"


def scan_linked(program, base):
    """The errors of a linked program: (symbol, text)."""
    base_tags = set().union(*(f.tags for f in functions(base)))
    all_functions = list(functions(program))
    tags = set().union(*(f.tags for f in all_functions)) - base_tags
    if not base_tags or not tags:
        yield program, "the units share one baseline tag: nothing was checked"
    for f in all_functions:
        if f.path[:1] == ["qnt"] and f.beyond and not f.isa and not any(f"{len(tag)}{tag}" in f.symbol for tag in tags):
            yield f.symbol, f"a function that units with other flags share: {f.beyond}"


def main():
    scans = {"object": scan_object, "kernels": scan_kernels, "linked": scan_linked}
    if len(sys.argv) < 3 or sys.argv[1] not in scans:
        sys.exit(__doc__)
    errors = list(scans[sys.argv[1]](*sys.argv[2:]))
    report = "".join(f"{symbol}: {text}\n" for symbol, text in errors)
    print(subprocess.run(["c++filt"], input=report, check=True, capture_output=True, text=True).stdout, end="")
    print(f"leak_scan {sys.argv[1]}: {len(errors)} errors")
    sys.exit(1 if errors else 0)


main()
