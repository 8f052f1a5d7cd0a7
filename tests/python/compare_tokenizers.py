#!/usr/bin/env python3
"""Compares limn's tokens with those of Python's `tokenizers`, ids and characters both.

    compare_tokenizers.py PROGRAM FOLDER [--lines N] [--texts FILE] [--seed S]

PROGRAM is build/release/tests/encode_lines. FOLDER holds a tokenizer.json. The texts are N random
ones, made to be nasty, and, from --texts (SQuAD-like JSON), every paragraph, question and answer.
Exits with 1 when a text differs, after showing the first ones.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys

from tokenizers import Tokenizer

WORDS = [
    "the", "The", "don't", "I'LL", "we've", "na\u00efve", "Stra\u00dfe", "\u0130stanbul", "x", "12345",
    "3.14", "\u017f's", "e\u0301", "'\u017f", "'S", "\u0395\u03bb\u03bb\u03ac\u03b4\u03b1",
    "\u041c\u043e\u0441\u043a\u0432\u0430", "\u6771\u4eac\u30bf\u30ef\u30fc",
    "\uc548\ub155\ud558\uc138\uc694", "\u0645\u0631\u062d\u0628\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\ufb01", "\u00c5",
    "\u212b", "\u1e9b\u0323", "\u1112\u1161\u11ab",
]
SPACES = [
    " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u0085", "\u2028",
    "\u180e", "\u200b", "\ufeff", " " * 17, "\t\t",
]
SYMBOLS = [
    "!", "...", "'", "\"", "<", ">", "|", "_", "\u2581", "\u0120", "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\ue000", "\U000f0000", "\U0010ffff", "\x00", "\x7f",
    "\u0301", "\u0323\u0302", "\u0344", "\u00bd", "\u00b2", "\u216b", "\u0663", "\u200d", "\u00ad", "$",
    "\u20ac", "{}", "()", "\\", "//",
]


def added_contents(folder):
    with open(folder / "tokenizer.json", encoding="utf-8") as file:
        return [token["content"] for token in json.load(file)["added_tokens"]]


def random_character(rng):
    while True:
        limit = rng.choice([0x80, 0x100, 0x800, 0x3000, 0x10000, 0x110000])
        code_point = rng.randrange(limit)
        if not 0xD800 <= code_point < 0xE000:
            return chr(code_point)


def random_text(rng, added):
    kinds = [lambda: rng.choice(WORDS), lambda: rng.choice(WORDS), lambda: rng.choice(SPACES), lambda: " ",
             lambda: rng.choice(SYMBOLS), lambda: random_character(rng),
             lambda: "".join(rng.choice("abcdefgh") for _ in range(rng.choice([3, 9, 60])))]
    if added:
        kinds.append(lambda: rng.choice(added))
        kinds.append(lambda: rng.choice(added)[: rng.randrange(1, 9)])
    return "".join(rng.choice(kinds)() for _ in range(rng.randrange(1, 30)))


def squad_texts(path):
    with open(path, encoding="utf-8") as file:
        for article in json.load(file)["data"]:
            for paragraph in article["paragraphs"]:
                yield paragraph["context"]
                for question in paragraph["qas"]:
                    yield question["question"]
                    yield from (answer["text"] for answer in question["answers"])


def expected(tokenizer, text):
    encoding = tokenizer.encode(text)
    # Special tokens that the post-processor added have no characters.
    ranges = [(-1, -1) if special else offsets
              for special, offsets in zip(encoding.special_tokens_mask, encoding.offsets)]
    return {"ids": encoding.ids, "begin": [begin for begin, _ in ranges], "end": [end for _, end in ranges]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--texts", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    rng = random.Random(arguments.seed)
    added = added_contents(arguments.folder)
    texts = ["", " ", "\n"] + [random_text(rng, added) for _ in range(arguments.lines)]
    if arguments.texts:
        texts += squad_texts(arguments.texts)

    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    command = [arguments.program, arguments.folder]
    output = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout
    actual = [json.loads(line) for line in output.split("\n")[:-1]]

    tokenizer = Tokenizer.from_file(str(arguments.folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    num_tokens = 0
    differing = []
    for text, limn in zip(texts, actual, strict=True):
        python = expected(tokenizer, text)
        num_tokens += len(python["ids"])
        if python != limn:
            differing.append((text, python, limn))
    for text, python, limn in differing[:5]:
        print(f"text   {text!r}\npython {python}\nlimn   {limn}")
    print(f"{arguments.folder.name}: {len(texts)} texts, {num_tokens} tokens, {len(differing)} texts differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
