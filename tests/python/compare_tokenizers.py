#!/usr/bin/env python3
"""Compares limn's tokens with those of Python's `tokenizers` and `sentencepiece`, ids and characters both.

    compare_tokenizers.py PROGRAM TEXTS [FOLDER ...] [--made MIXTURES] [--lines N] [--seed S] [--all-texts]

PROGRAM is build/release/tests/encode_lines. TEXTS is a SQuAD-like JSON file. Each FOLDER holds a
tokenizer.json or a tokenizer.model, or folders that do; --made adds tokenizers that are trained on the texts, of every kind
(made_tokenizers.py), and as many MIXTURES of their parts. Each encodes N lines: paragraphs, questions and
answers of the texts, and random ones, made to be nasty. Exits with 1 when a text differs, after showing
the first ones.
"""

import argparse
import bisect
import functools
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import sentencepiece
from tokenizers import Tokenizer

import made_tokenizers

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
    """What the texts should have in them: the added tokens."""
    file = folder / "tokenizer.json"
    if not file.exists():
        return ["<s>", "</s>", "<unk>", "<0x41>"]
    return [token["content"] for token in json.loads(file.read_text(encoding="utf-8"))["added_tokens"]]


def random_character(rng):
    while True:
        limit = rng.choice([0x80, 0x100, 0x800, 0x3000, 0x10000, 0x110000])
        code_point = rng.randrange(limit)
        if not 0xD800 <= code_point < 0xE000:
            return chr(code_point)


def random_text(rng, added):
    kinds = [lambda: rng.choice(WORDS), lambda: rng.choice(WORDS), lambda: rng.choice(SPACES), lambda: " ",
             lambda: rng.choice(SYMBOLS), lambda: random_character(rng),
             lambda: "".join(rng.choice("abcdefgh") for _ in range(rng.choice([3, 9, 60]))),
             lambda: rng.choice(WORDS) * rng.choice([2, 30])]
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


# What the package says where it gives up on itself: such texts are not compared.
PANIC = "panic"


def encode_with_tokenizers(tokenizer, text):
    try:
        encoding = tokenizer.encode(text)
    except Exception:  # the package throws no narrower kind
        return None
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            return PANIC
        raise
    # Special tokens that the post-processor added have no characters.
    ranges = [(-1, -1) if special else offsets
              for special, offsets in zip(encoding.special_tokens_mask, encoding.offsets)]
    return {"ids": encoding.ids, "begin": [begin for begin, _ in ranges], "end": [end for _, end in ranges]}


def encode_with_sentencepiece(processor, text):
    # SentencePieceText.pieces: id, begin and end, in bytes.
    message = made_tokenizers.fields_of(processor.encode(text, return_type="serialized_proto"))
    pieces = [dict(made_tokenizers.fields_of(value)) for number, value in message if number == 2]
    bytes_before = list(itertools.accumulate((len(character.encode()) for character in text), initial=0))
    ranges = [(bisect.bisect_right(bytes_before, piece[4]) - 1, bisect.bisect_left(bytes_before, piece[5])) for piece in pieces]
    # Of a character's bytes only the last one has its range there.
    for i in reversed(range(len(pieces) - 1)):
        if processor.is_byte(pieces[i][2]) and ranges[i][0] == ranges[i][1]:
            ranges[i] = ranges[i + 1]
    ids = [processor.bos_id()] + [piece[2] for piece in pieces]
    return {"ids": ids, "begin": [-1] + [begin for begin, _ in ranges], "end": [-1] + [end for _, end in ranges]}


def actual(program, folder, texts):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    process = subprocess.run([program, folder], input=lines, capture_output=True, text=True)
    if process.returncode != 0:
        raise RuntimeError(f"{folder.name}: {process.stderr}")
    outputs = [json.loads(line) for line in process.stdout.split("\n")[:-1]]
    return [None if "error" in output else output for output in outputs]


def load(folder):
    """The folder's tokenizer, as a function from text to tokens."""
    if (folder / "tokenizer.json").exists():
        tokenizer = load_json(folder / "tokenizer.json")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return functools.partial(encode_with_tokenizers, tokenizer)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return functools.partial(encode_with_sentencepiece, processor)


def load_json(file):
    """A tokenizer file. In older ones tokens with spaces make merges that the package refuses: these are spelled out."""
    document = json.loads(file.read_text(encoding="utf-8"))
    vocab = document["model"]["vocab"]

    def pair(merge):
        spaces = [i for i, character in enumerate(merge) if character == " "]
        return next([merge[:i], merge[i + 1:]] for i in spaces if merge[:i] in vocab and merge[i + 1:] in vocab)

    merges = document["model"].get("merges")
    if merges and isinstance(merges[0], str):
        document["model"]["merges"] = [pair(merge) for merge in merges]
    return Tokenizer.from_str(json.dumps(document))


def num_differing(program, folder, texts):
    expected = load(folder)
    num_tokens = num_panics = 0
    differing = []
    for text, limn in zip(texts, actual(program, folder, texts), strict=True):
        python = expected(text)
        if python == PANIC:
            num_panics += 1
            continue
        num_tokens += len(python["ids"]) if python else 0
        if python != limn:
            differing.append((text, python, limn))
    for text, python, limn in differing[:5]:
        print(f"text   {text!r}\npython {python}\nlimn   {limn}")
    print(f"{folder.name}: {len(texts)} texts, {num_tokens} tokens, {len(differing)} texts differ"
          + f", the package panics on {num_panics}" * (num_panics > 0), flush=True)
    return len(differing)


def tokenizer_folders(folder):
    files = [*folder.glob("tokenizer.json"), *folder.glob("tokenizer.model"), *folder.glob("*/tokenizer.json"), *folder.glob("*/tokenizer.model")]
    return sorted({file.parent for file in files})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("texts", type=pathlib.Path)
    parser.add_argument("folders", type=pathlib.Path, nargs="*")
    parser.add_argument("--made", type=int, default=-1, metavar="MIXTURES")
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all-texts", action="store_true")
    arguments = parser.parse_args()

    rng = random.Random(arguments.seed)
    source = list(squad_texts(arguments.texts))
    with tempfile.TemporaryDirectory() as scratch:
        folders = [found for folder in arguments.folders for found in tokenizer_folders(folder)]
        if arguments.made >= 0:
            paragraphs = [text for text in source if len(text) > 200]
            folders += made_tokenizers.make(paragraphs, pathlib.Path(scratch), rng, arguments.made)
        total = 0
        for folder in folders:
            added = added_contents(folder)
            drawn = source if arguments.all_texts else rng.sample(source, min(len(source), arguments.lines // 2))
            texts = ["", " ", "\n"] + drawn + [random_text(rng, added) for _ in range(arguments.lines // 2)]
            total += num_differing(arguments.program, folder, texts)
    print(f"seed {arguments.seed}: {len(folders)} tokenizers, {total} texts differ")
    return 1 if total or not folders else 0


if __name__ == "__main__":
    sys.exit(main())
