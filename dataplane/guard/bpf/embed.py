"""Writes a C++ header that holds a file as an array: embed.py NAME INPUT OUTPUT."""
import sys

name, source, header = sys.argv[1:]
with open(source, "rb") as file:
    content = file.read()
rows = (", ".join(str(byte) for byte in content[at:at + 32]) for at in range(0, len(content), 32))
with open(header, "w", encoding="ascii") as file:
    file.write("#pragma once\n")
    file.write(f"alignas(8) inline constexpr unsigned char {name}[] = {{\n" + ",\n".join(rows) + "};\n")
