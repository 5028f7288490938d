"""Whether an audit log is whole: a second verifier, written from docs/AUDIT.md. It needs PyPI's `cryptography`."""
import argparse, gzip, hashlib, json, sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey as Key

class Broken(Exception): """Which file, which line of it, and what is wrong there."""

def need(is_so, why):
    if not is_so: raise ValueError(why)

def canonical(value):  # RFC 8785, for what stands in these lines: texts and whole numbers, under names of ASCII
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

def read(raw):
    line = json.loads(raw)
    need(canonical(line) + b"\n" == raw, "it is altered, or no whole line")
    sig, said = line.pop("sig", None), line.pop("hash")
    need(line["entry"]["kind"] and type(line["n"]) is int and ("key" in line) == (sig is not None), "it is no line")
    need(hashlib.sha256(canonical(line)).hexdigest() == said, "it was altered")
    if sig is not None:
        Key.from_public_bytes(bytes.fromhex(line["key"])).verify(bytes.fromhex(sig), b"duologue audit\0" + bytes.fromhex(said))
    return line, said, line["entry"], line["entry"]["kind"] if "key" in line else "an event"

def verify(files, key=None, head=None):
    """(name, lines) of each file in their order. From and to which entry it is whole; or the first line where it is not."""
    start, n, said, closed, odd, seen, stubs, unrecorded, was = None, 0, "0" * 64, False, None, not head, [], None, ("the log", 0)
    for place, raw in (((name, at), raw) for name, lines in files for at, raw in enumerate(lines, 1)):
        try:
            line, now, entry, kind = read(raw)
            if place[0].endswith(".removed.jsonl"):
                need(kind == "audit-rotated", "it is not the last line of a file")
                stubs.append((entry["first"], line["n"], now, line["key"], entry["next"]))
                continue
            if start is None:
                for first, last, hashed, signer, following in (stub for stub in stubs if stub[1] < line["n"]):
                    need(first == n + 1 and key in (None, signer), "what is left of removed files has a gap")
                    n, said, key, closed, unrecorded = last, hashed, following, True, (last, hashed)
                    seen = seen or first <= head[0] < last or head == unrecorded
                n, said = (n, said) if n or line["n"] == 1 else (line["n"] - 1, line["prev"])
                start, key = line["n"], key or line.get("key")
            need(line["n"] == n + 1, f"entry {n + 1} should stand here, and entry {line['n']} does")
            need(line["prev"] == said or not odd, "it does not follow")
            odd = odd if line["prev"] == said else (was, place)
            need((place[1] == 1) == (kind == "audit-begun") and (place[1] == 1 or not closed), "a file begins or ends in its middle")
            need(line.get("key", key) == key, "its key is not the one that signs here")
            if odd and "key" in line:
                raise Broken(*odd[0], "it was altered, and its hash with it: what is signed after it names another")
            n, said, closed, was = line["n"], now, kind == "audit-rotated", place
            key = entry["next"] if closed else key
            unrecorded = None if kind == "audit-removed" and (entry["to"], entry["last"]) == unrecorded else unrecorded
            need(not head or n != head[0] or said == head[1], "it is not the entry that the head names")
            seen = seen or n == head[0]
        except (ValueError, KeyError, TypeError, RecursionError, InvalidSignature) as error:
            raise Broken(*(odd[1] if odd else place), str(error) or "its signature is no signature of its key")
    if odd or start is None or unrecorded or not seen:
        raise Broken(*(odd[1] if odd else (was[0], was[1] + 1)), "it does not follow" if odd else "what follows was cut off or removed")
    return start, n

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--key"), options.add_argument("--head", metavar="N:HASH"), options.add_argument("files", nargs="+")
    given = options.parse_args()
    head = given.head and (int(given.head.split(":")[0]), given.head.split(":")[1])
    opened = [(name, (gzip.open if name.endswith(".gz") else open)(name, "rb")) for name in given.files]
    try:
        print("whole from %d to %d%s" % (*verify(opened, given.key, head), "" if head else "; whether more followed is not known"))
    except Broken as broken:
        sys.exit("NOT whole: %s, line %d: %s" % broken.args)
