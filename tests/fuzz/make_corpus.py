"""Makes what a fuzzer starts from of the data of the other tests.

    make_corpus.py FUZZER FOLDER
"""

import json
import pathlib
import sys

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
TOKENIZERS = sorted((DATA / "tokenizers").glob("*/tokenizer.json"))
RECORDS = [
    {"id": "a", "prompt": "Tom had a ball. It was red.", "target": " He", "units": [[0, 15], [16, 27]], "evidence": [[9, 13]]},
    {"input_ids": [1, 2, 3], "target_ids": [4], "unit_tokens": [[0, 1], [2]], "evidence_box": [1, 2, 3, 4]},
    {"prompt": "\u00e9\U0001f600 \u5cf6", "target": "\ud83d\ude00"},
]


def tokenizer_files():
    for file in TOKENIZERS:
        yield file.read_bytes()
    # The stages alone are short, and what is short is changed in the right places.
    cases = json.loads((DATA / "tokenizers/goldens.json").read_text(encoding="utf-8"))["cases"]
    for case in cases:
        document = {"model": {"type": "WordLevel", "vocab": {"a": 0, "the": 1}, "unk_token": "a"}}
        document.update({key: stage for key, stage in case["patch"].items() if key != "model"})
        yield json.dumps(document).encode()
    model = json.loads(TOKENIZERS[0].read_text(encoding="utf-8"))["model"]
    for kind in [
            {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<0x0A>": 3}, "merges": ["a b"], "byte_fallback": True, "fuse_unk": True},
            {"type": "BPE", "vocab": {"a": 0, "##b</w>": 1, "ab</w>": 2}, "merges": [["a", "##b</w>"]], "unk_token": "a",
             "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>", "ignore_merges": True},
            {"type": "Unigram", "vocab": [["<unk>", 0], ["a", -1.5], ["ab", -2], ["b", -1]], "unk_id": 0, "byte_fallback": True},
            {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1, "##b": 2}, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 9}, {**model, "vocab": dict(list(model["vocab"].items())[:40]), "merges": []}]:
        yield json.dumps({"model": kind}).encode()


def encodings():
    texts = {text["text"] for case in json.loads((DATA / "tokenizers/goldens.json").read_text(encoding="utf-8"))["cases"]
             for text in case["texts"]}
    for i, text in enumerate(sorted(texts)):
        yield bytes([i % 256]) + text.encode()


def datasets():
    lines = [json.dumps(record) for record in RECORDS]
    for i in range(len(lines)):
        yield "\n".join(lines[i:]).encode()
    yield b"\xef\xbb\xbf" + lines[0].encode() + b"\r\n\r\n{}\n"


def main():
    make = {"tokenizer_file_fuzzer": tokenizer_files, "encoding_fuzzer": encodings, "dataset_fuzzer": datasets}[sys.argv[1]]
    folder = pathlib.Path(sys.argv[2])
    for i, seed in enumerate(make()):
        (folder / f"seed-{i:04}").write_bytes(seed)


if __name__ == "__main__":
    main()
