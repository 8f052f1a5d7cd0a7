#!/usr/bin/env python3
"""Makes the tokenizers and the expected tokens of tests/tokenizer_test.cpp, with Python's `tokenizers`.

    python3 -m pip install tokenizers==0.23.3 sentencepiece==0.2.2
    python3 make_goldens.py

Writes, beside itself, byte-level/tokenizer.json and three more (trained here on the sentences below), and
goldens.json. A case of goldens.json names one of the tokenizers, a JSON merge
patch (RFC 7396) that turns it into another kind, and texts with the ids and characters that Python gives.
Running it again writes the same bytes.
"""

import collections
import contextlib
import io
import json
import pathlib
import sys
import tempfile

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1] / "python"))

import made_tokenizers

SENTENCES = [
    "The lighthouse keeper counted the ships that passed between the islands every evening.",
    "When the harbour froze, they couldn't sail, so they walked over the ice instead.",
    "It's said that the keeper's daughter drew maps of places that nobody had ever seen.",
    "She'd draw a river first, then the hills around it, and only then the towns.",
    "In 1912 the winter lasted 143 days; in 1913 it lasted 97, and nobody believed the almanac.",
    "Der Leuchtturmw\u00e4rter z\u00e4hlte die Schiffe, die zwischen den Inseln vor\u00fcberfuhren.",
    "Le gardien du phare comptait les navires qui passaient pr\u00e8s de la c\u00f4te d'\u00e9t\u00e9.",
    "\u0421\u043c\u043e\u0442\u0440\u0438\u0442\u0435\u043b\u044c \u043c\u0430\u044f\u043a\u0430 "
    "\u0441\u0447\u0438\u0442\u0430\u043b \u043a\u043e\u0440\u0430\u0431\u043b\u0438, \u043f\u0440"
    "\u043e\u0445\u043e\u0434\u0438\u0432\u0448\u0438\u0435 \u043c\u0435\u0436\u0434\u0443 \u043e"
    "\u0441\u0442\u0440\u043e\u0432\u0430\u043c\u0438.",
    "\u706f\u53f0\u5b88\u306f\u6bce\u6669\u3001\u5cf6\u3005\u306e\u9593\u3092\u901a\u308b\u8239\u3092"
    "\u6570\u3048\u3066\u3044\u305f\u3002",
    "def count(ships):\n    return sum(1 for ship in ships if ship.passed)\n",
    "    indented,\ttabbed and    spaced   text -- with (brackets), [lists] and {braces}!",
    "What did they see? They saw the sea, the shore, the ships and the shining stars...",
]

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

TEXTS = [
    "",
    " ",
    "\n",
    "The ships passed.",
    " The keeper's daughter, she'd drawn 1234567 maps!",
    "IT'S WE'LL they'Re it'\u017f",
    "two  spaces,   three\t\ttabs \t mixed ",
    "unix\nlines\n\n\nand\r\nwindows\r\n\r\nlines \r\n end",
    "   leading and trailing   ",
    "Stra\u00dfe, na\u00efve, \u00c5ngstr\u00f6m, \u212bngstr\u00f6m, \ufb01anc\u00e9e",
    "decomposed e\u0301 and e\u0323\u0301 and \u1e9b\u0323 and a\u0301\u0327\u0323",
    "\u0301begins with a mark, \u0344 and two in one",
    "\u1112\u1161\u11ab\u1100\u1173\u11af is \ud55c\uae00",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd "
    "\U0001f1e9\U0001f1ea \U0001f3f3\ufe0f\u200d\U0001f308!",
    "zero\u200bwidth\u200djoiner\ufeff and \u00adsoft hyphen",
    "private \ue000\uf8ff\U000f0000\U0010ffff use",
    "controls \x00\x01\x1f\x7f\x80\x85 here",
    "\u0421\u043c\u043e\u0442\u0440\u0438\u0442\u0435\u043b\u044c \u043c\u0430\u044f\u043a\u0430",
    "\u706f\u53f0\u5b88\u306f\u6bce\u6669\u3001\u5cf6\u3005\u306e\u9593\u3092\u901a\u308b\u8239",
    "\u0645\u0631\u062d\u0628\u0627 \u0661\u0662\u0663\u0664 \u0928\u092e\u0938\u094d\u0924\u0947 "
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u00a0no\u00a0break\u2003em\u3000wide\u1680ogham\u180evowel\u2028line\u2029paragraph",
    "\u00bd \u00b2 \u216b \u0663 \u4e09 12\u00bd34",
    "new \U000313fa\U0001e5fa letters \u1c89 and numbers \U00010d40\U0001e5f9",
    "of old and new: \u32ff \U0001fbf1 x\u00b2 \u00bdx \U00011938 \U00011de1\U00016ff4 a\u1df6\u0301\u0323",
    "<|begin|>spelled<|end|> in the text <|end|><|end|>",
    "<s>spelled</s> in the text </s> <unk> <0x41>",
    "nearly <|begin <|end|| |> <s </s",
    "a [MASK] here,[MASK]there and [MASK]   [MASK] ",
    "ship warship ship_s ship, SHIP ships ship",
    "\u2581already \u2581\u2581 marked\u2581 \u0120\u0120",
    "def f(x):\n\treturn {'a': [1, 2.5e-3], \"b\": x**2}  # \u221a\n",
]

LONG_TEXTS = ["averyveryverylongword" * 30, "\u5cf6" * 90, " " * 150 + "x", "theshipstheshore" * 60 + " end"]
MARKED_TEXTS = [text for text in TEXTS if "\u0301" in text or "\ufb01" in text or "\u1112" in text or "\u00bd" in text or "\u32ff" in text]
SHIP_TEXTS = [text for text in TEXTS if "[MASK]" in text or "ship" in text or "<|" in text]

REGEXES = [
    r"\p{N}{1,3}+", r"\d{2}|[^\S\n]+", r"(?m:t.)", r"^.|.$", r"(?i)THE|(?<=s)h", r"\h++", r"\v|\x{706f}|\u5b88",
    r"[\u3040-\u30ff]+|\p{Han}", r"\p{^L}+", r"[^\P{L}a-m]+", r"\bs|e\b", r"\W\w", r"a{,2}b|x{|{", r"(?>a|an)(?!d)",
]
REGEX_TEXTS = [
    "The ships and the sheep:\nt\n 12345 \u2160\u0663 deadBEEF\x0b  \u00a0s.\n",
    "x\u00b2 \u00bdx of \u706f\u53f0\u5b88\u306f \u30d5 ab aab x{ {n e\u0301s na\u00efve\n\nand an",
]


def added(token_id, content, **flags):
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": token_id, "content": content, **token, **flags}


def save(tokenizer_json, name):
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    text = json.dumps(tokenizer_json, ensure_ascii=False, indent=None, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")


def make_byte_level():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(vocab_size=420, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_special_tokens([AddedToken("<|begin|>", normalized=False), AddedToken("<|end|>", normalized=False)])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))]),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    return json.loads(tokenizer.to_str())


def make_sentencepiece():
    specials = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        [sentence for sentence in SENTENCES if sentence.isascii()],
        trainers.BpeTrainer(vocab_size=450, show_progress=False, special_tokens=specials + byte_tokens))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    result = json.loads(tokenizer.to_str())
    result["pre_tokenizer"] = None
    # The bytes are tokens of the model only; and the older way to write merges.
    result["added_tokens"] = [token for token in result["added_tokens"] if token["content"] in specials]
    result["model"]["merges"] = [f"{left} {right}" for left, right in result["model"]["merges"]]
    return result


def make_word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    result = json.loads(tokenizer.to_str())

    # The package's trainer gives another vocabulary every time: here are the commonest beginnings and ends of words.
    counts = collections.Counter()
    for sentence in SENTENCES:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(sentence)):
            counts.update({"##" * (begin > 0) + word[begin:end] for begin in range(len(word)) for end in range(begin + 1, len(word) + 1)})
    characters = sorted(token for token in counts if len(token.removeprefix("##")) == 1)
    longer = sorted((token for token in counts if len(token.removeprefix("##")) > 1), key=lambda token: (-counts[token], token))
    result["model"]["vocab"] = {token: id for id, token in enumerate(["[UNK]", "[CLS]", "[SEP]"] + characters + longer[:200])}
    return result


# What a model's own normal form may do: replace one by more, two by one, and take away, at a text's begin, too.
CHARACTER_RULES = ["FB01\t66 69", "65 301\tE9", "AD\t", "1\t", "D A\t20", "2026\t2E 2E 2E", "212B\tC5", "1F600\t3A 29"]


def make_unigram():
    model = io.BytesIO()
    # The model has the name of the file in it.
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        pathlib.Path("rules.tsv").write_text("\n".join(CHARACTER_RULES) + "\n", encoding="ascii")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter("\n".join(SENTENCES).split("\n")), model_writer=model, vocab_size=600, hard_vocab_limit=False,
            normalization_rule_tsv="rules.tsv", byte_fallback=True, minloglevel=2, num_threads=1)
    tokenizer = Tokenizer(made_tokenizers.unigram_of(model.getvalue()))
    tokenizer.normalizer = normalizers.Precompiled(made_tokenizers.characters_map(model.getvalue()))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    save_sentencepiece(model.getvalue())
    return json.loads(tokenizer.to_str())


def save_sentencepiece(model):
    """The same model as SentencePiece has it, with what Python's `sentencepiece` makes of the texts."""
    folder = FOLDER / "sentencepiece-model"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = [text for text in TEXTS + LONG_TEXTS if "\0" not in text]
    goldens = [{"text": text, "ids": processor.encode(text, add_bos=True)} for text in texts]
    (folder / "goldens.json").write_text(json.dumps(goldens, separators=(",", ":")) + "\n", encoding="utf-8")


def byte_level_cases(base):
    size = len(base["model"]["vocab"])
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    bytes_only = {**byte_level, "use_regex": False}

    def cut(pattern, behavior, invert=False):
        split = {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}
        return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_only]}}

    # A patch has to take away the base's Sequence.
    def words(**options):
        return {"pre_tokenizer": {**byte_level, **options, "pretokenizers": None}}

    def post(**options):
        return {"post_processor": {**byte_level, **options, "processors": None}}

    specials = base["added_tokens"]
    yield "as it is", {}, TEXTS + LONG_TEXTS
    yield "trimmed offsets", post(), TEXTS
    yield "trimmed offsets that keep a prefix space", post(add_prefix_space=True), TEXTS
    yield "GPT-2's words", {**words(), "model": {"ignore_merges": False}}, TEXTS
    yield "a prefix space", {**words(add_prefix_space=True), **post(add_prefix_space=True)}, TEXTS
    for form in ["NFC", "NFD", "NFKC", "NFKD"]:
        yield form, {"normalizer": {"type": form}, **post()}, MARKED_TEXTS
    for behavior in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        yield f"{behavior} spaces", cut({"String": " "}, behavior), SHIP_TEXTS
        yield f"{behavior} words", cut({"Regex": r"\w+|\b"}, behavior, invert=True), SHIP_TEXTS
    for regex in REGEXES:
        yield f"Isolated {regex}", cut({"Regex": regex}, "Isolated"), REGEX_TEXTS
    for individual in [True, False]:
        steps = [{"type": "Digits", "individual_digits": individual}, byte_level]
        yield f"individual digits {individual}", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}, TEXTS[:25]
    yield "words of the bytes' characters", {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [bytes_only, {"type": "Digits", "individual_digits": True}]}}, TEXTS[:25]
    yield "added tokens", {
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "S(?=h)"}, "content": "s"}]},
        **post(),
        "added_tokens": specials + [
            added(size + 2, "[MASK]", lstrip=True, rstrip=True),
            added(size + 3, "warship"),
            added(size + 4, "warship ship"),
            added(size + 5, "sh\u00e9", normalized=True),
            added(size + 6, "Ship", normalized=True, single_word=True),
            added(size + 7, "   ", normalized=True, special=True),
        ]}, TEXTS + ["Ship ships Shipship Ship\u0301 shi\u0301p she\u0301 Sh\u00e9 Ship"]


def sentencepiece_cases(base):
    def metaspace(scheme, split):
        pre_tokenizer = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}
        return {"normalizer": None, "pre_tokenizer": pre_tokenizer}

    yield "as it is", {}, TEXTS + LONG_TEXTS
    yield "bytes unknown", {"model": {"byte_fallback": False}}, TEXTS
    yield "bytes unknown, each on its own", {"model": {"byte_fallback": False, "fuse_unk": False}}, TEXTS
    yield "unknown left out", {"model": {"byte_fallback": False, "unk_token": None}}, TEXTS[:25]
    yield "some bytes unknown", {"model": {"vocab": {"<0xC3>": None, "<0xFE>": None, "x": base["model"]["vocab"]["<0xC3>"],
                                                    "y": base["model"]["vocab"]["<0xFE>"]}}}, TEXTS[:25]
    for scheme in ["first", "never", "always"]:
        for split in [True, False]:
            yield f"Metaspace, {scheme}, split {split}", metaspace(scheme, split), TEXTS[:12] + SHIP_TEXTS
    yield "special tokens in raw text", {
        **metaspace("first", False), "added_tokens": [{**token, "normalized": False} for token in base["added_tokens"]]}, TEXTS


def word_piece_cases(base):
    yield "as it is", {}, TEXTS + LONG_TEXTS
    yield "words", {"model": {"type": "WordLevel", "max_input_chars_per_word": None, "continuing_subword_prefix": None}}, TEXTS
    yield "case, accents and ideographs kept", {"normalizer": {
        "lowercase": False, "handle_chinese_chars": False, "clean_text": False}}, TEXTS
    yield "accents taken away, case kept", {"normalizer": {"lowercase": False, "strip_accents": True}}, MARKED_TEXTS
    options = {"clean_text": None, "handle_chinese_chars": None, "lowercase": None, "strip_accents": None}
    for name, fields in [("Lowercase", {}), ("StripAccents", {}), ("Nmt", {}), ("Strip", {"strip_left": True, "strip_right": False}),
                         ("Strip", {"strip_left": False, "strip_right": True}), ("ByteLevel", {})]:
        yield f"{name} {fields}", {"normalizer": {**options, "type": name, **fields}}, TEXTS
    for name, fields in [("Whitespace", {}), ("WhitespaceSplit", {}), ("Punctuation", {"behavior": "Contiguous"}),
                         ("Punctuation", {"behavior": "MergedWithPrevious"}), ("CharDelimiterSplit", {"delimiter": "e"})]:
        yield f"{name} {fields}", {"pre_tokenizer": {"type": name, **fields}}, TEXTS[:30]
    for trims in [True, False]:
        yield f"RobertaProcessing, {trims}", {
            "post_processor": {"type": "RobertaProcessing", "trim_offsets": trims, "add_prefix_space": False},
            "pre_tokenizer": {"type": "Punctuation", "behavior": "Isolated"}}, TEXTS[:12]


def unigram_cases(base):
    yield "as it is", {}, TEXTS + LONG_TEXTS
    yield "bytes unknown", {"model": {"byte_fallback": False}}, TEXTS
    yield "no normal form", {"normalizer": None}, TEXTS
    yield "the whole text", {"pre_tokenizer": {"split": False}}, TEXTS
    yield "trimmed offsets", {"post_processor": {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "single": None, "pair": None, "special_tokens": None},
        "model": {"byte_fallback": False}}, TEXTS


# tests/tokenizer_test.cpp does the same with nlohmann::json::merge_patch.
def merge_patch(document, patch):
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def encode(tokenizer, text):
    encoding = tokenizer.encode(text)
    # Special tokens that the post-processor adds have no characters.
    ranges = [(-1, -1) if special else offsets for special, offsets in zip(encoding.special_tokens_mask, encoding.offsets)]
    return {"text": text, "ids": encoding.ids, "begin": [begin for begin, _ in ranges], "end": [end for _, end in ranges]}


def main():
    result = []
    for name, make, make_cases in [("byte-level", make_byte_level, byte_level_cases),
                                   ("sentencepiece", make_sentencepiece, sentencepiece_cases),
                                   ("word-piece", make_word_piece, word_piece_cases),
                                   ("unigram", make_unigram, unigram_cases)]:
        base = make()
        save(base, name)
        for case, patch, texts in make_cases(base):
            patched = merge_patch(base, patch)
            for key in ["normalizer", "pre_tokenizer", "post_processor"]:
                patched.setdefault(key, None)
            tokenizer = Tokenizer.from_str(json.dumps(patched))
            result.append({"name": case, "tokenizer": name, "patch": patch, "texts": [encode(tokenizer, text) for text in texts]})
    lines = ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in result)
    made_with = f"tokenizers {tokenizers.__version__}"
    (FOLDER / "goldens.json").write_text(f'{{"made_with":"{made_with}","cases":[\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
