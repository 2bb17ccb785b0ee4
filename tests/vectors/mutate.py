"""Write mutated_messages.txt anew from messages.json: ``python tests/vectors/mutate.py``.

A line is a kind and octets in hexadecimal. The same messages give the same file.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
EACH = 25


def mutated(octets: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return ``octets`` after one to four changes of the kinds that break readers."""
    data = bytearray(octets)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0:
                del data[at:]
            case 1 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 2 if data:
                # Lengths and counts live in single octets: their ends are where readers go wrong.
                data[at % len(data)] = chance.choice((0x00, 0x01, 0x3F, 0x7F, 0xC0, 0xFF))
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 4:
                del data[at : at + chance.randint(1, 8)]
            case 5:
                data[at:at] = data[at : at + chance.randint(1, 64)] * chance.randint(1, 4)
            case _:
                other = chance.choice(others)
                data[at:] = other[chance.randrange(len(other)) :]
    return bytes(data)


def main() -> None:
    """Write the file."""
    messages = json.loads((HERE / "messages.json").read_text())
    chance = random.Random(9499)  # noqa: S311  # no secret, and the same each time
    everything = [bytes.fromhex(m["octets"]) for m in messages]
    lines = [
        f"{m['kind']} {mutated(octets, everything, chance).hex()}"
        for m, octets in zip(messages, everything, strict=True)
        for _ in range(EACH)
    ]
    (HERE / "mutated_messages.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
