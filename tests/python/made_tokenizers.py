"""Tokenizers that are trained on the spot, for compare_tokenizers.py: of every kind that limn knows, and some put together by chance."""

import base64
import io
import itertools
import json
import random

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCAB_SIZE = 3000
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
BLOOM_WORDS = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def fields_of(message):
    """The fields of a protocol buffer message, as (number, value): bytes or integers."""
    position = 0

    def varint():
        nonlocal position
        result = 0
        for shift in itertools.count(0, 7):
            byte = message[position]
            position += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result

    while position < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 2: None, 5: 4}[key & 7]
        size = varint() if size is None else size
        yield key >> 3, message[position:position + size]
        position += size


def characters_map(model):
    """The precompiled map of a SentencePiece model (ModelProto.normalizer_spec.precompiled_charsmap)."""
    spec = next(value for number, value in fields_of(model) if number == 3)
    return next((value for number, value in fields_of(spec) if number == 2), b"")


def train_sentencepiece(texts, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in texts for line in text.split("\n") if line]), model_writer=model,
        vocab_size=VOCAB_SIZE, hard_vocab_limit=False, minloglevel=2, num_threads=1, **options)
    return model.getvalue()


def unigram_of(model):
    """The tokenizer file's model of a SentencePiece model."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(processor.vocab_size())
    has_bytes = any(processor.is_byte(id) for id in ids)
    vocab = [(processor.id_to_piece(id), processor.get_score(id)) for id in ids]
    return models.Unigram(vocab, processor.unk_id(), has_bytes)


def bert(texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=VOCAB_SIZE, special_tokens=BERT_SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_tokens([AddedToken("quarterback", single_word=True, normalized=True)])
    return tokenizer


def bert_cased(texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=12, continuing_subword_prefix="@@"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=True, handle_chinese_chars=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=BERT_SPECIALS, show_progress=False, continuing_subword_prefix="@@")
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def t5(texts):
    model = train_sentencepiece(texts, model_type="unigram", normalization_rule_name="nmt_nfkc")
    tokenizer = Tokenizer(unigram_of(model))
    tokenizer.normalizer = normalizers.Precompiled(characters_map(model))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken("<extra_id_0>", lstrip=True, normalized=False), "<unk>", "</s>"])
    return tokenizer


def albert(texts):
    model = train_sentencepiece(texts, model_type="unigram", normalization_rule_name="nmt_nfkc_cf", byte_fallback=True)
    tokenizer = Tokenizer(unigram_of(model))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(), normalizers.StripAccents(),
        normalizers.Lowercase(), normalizers.Precompiled(characters_map(model)), normalizers.Strip(left=False, right=True),
        normalizers.Replace(Regex(" {2,}"), "\u2581")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False)])
    return tokenizer


def word_level(texts):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFD(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    trainer = trainers.WordLevelTrainer(vocab_size=VOCAB_SIZE, special_tokens=["<unk>", "<s>"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def clip(texts):
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>", show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", 1), ("<|startoftext|>", 0), trim_offsets=False, add_prefix_space=False)
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    return tokenizer


def roberta(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=["<s>", "</s>"], show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=True, add_prefix_space=True)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer


def subword_bpe(texts):
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##", fuse_unk=True))
    tokenizer.normalizer = normalizers.StripAccents()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.CharDelimiterSplit("e")])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=["[UNK]"], continuing_subword_prefix="##", show_progress=False, limit_alphabet=60)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def near_ties(texts):
    """Words of letters and pairs of letters in many ways, whose scores' sums are equal but for rounding. The nasty texts have such words."""
    rng = random.Random(1)
    letters = {letter: -rng.uniform(1, 20) for letter in "abcdefgh"}
    pairs = {x + y: letters[x] + letters[y] + 5 for x, y in itertools.product(letters, letters)}
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), *letters.items(), *pairs.items()], 0))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


KINDS = {
    "bert": bert, "bert-cased": bert_cased, "t5": t5, "albert": albert, "word-level": word_level, "clip": clip, "roberta": roberta,
    "subword-bpe": subword_bpe, "near-ties": near_ties,
}


def random_normalizer(rng, char_maps):
    kinds = [
        normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD, normalizers.Lowercase, normalizers.StripAccents,
        normalizers.Nmt, lambda: normalizers.Strip(rng.random() < 0.5, rng.random() < 0.5),
        lambda: normalizers.BertNormalizer(*(rng.random() < 0.5 for _ in range(4))),
        lambda: normalizers.Prepend(rng.choice(["\u2581", "ab", " "])), lambda: normalizers.Precompiled(rng.choice(char_maps)),
        lambda: normalizers.Replace(rng.choice([" ", Regex(r"\s+"), Regex(r"\p{Lu}"), "e"]), rng.choice(["", " ", "\u2581", "xy"])),
    ]
    return normalizers.Sequence([rng.choice(kinds)() for _ in range(rng.randrange(4))])


def random_pre_tokenizer(rng):
    behaviors = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
    kinds = [
        pre_tokenizers.BertPreTokenizer, pre_tokenizers.Whitespace, pre_tokenizers.WhitespaceSplit,
        lambda: pre_tokenizers.Punctuation(rng.choice(behaviors)), lambda: pre_tokenizers.Digits(rng.random() < 0.5),
        lambda: pre_tokenizers.CharDelimiterSplit(rng.choice(" e\u2581")),
        lambda: pre_tokenizers.Metaspace("\u2581", rng.choice(["always", "first", "never"]), rng.random() < 0.5),
        lambda: pre_tokenizers.Split(rng.choice([" ", Regex(r"\s+"), Regex(r"\w+|[^\w\s]+"), Regex(BLOOM_WORDS)]), rng.choice(behaviors), rng.random() < 0.5),
        lambda: pre_tokenizers.ByteLevel(rng.random() < 0.5, use_regex=rng.random() < 0.5),
    ]
    return pre_tokenizers.Sequence([rng.choice(kinds)() for _ in range(rng.randrange(1, 4))])


def random_post_processor(rng):
    kinds = [
        lambda: processors.ByteLevel(trim_offsets=rng.random() < 0.7),
        lambda: processors.RobertaProcessing(("b", 1), ("a", 0), rng.random() < 0.7, rng.random() < 0.5),
        lambda: processors.BertProcessing(("b", 1), ("a", 0)),
        lambda: processors.TemplateProcessing(single="a a $A b", special_tokens=[("a", 0), ("b", 1)]),
    ]
    return rng.choice(kinds)()


def random_mixture(rng, made, char_maps):
    """A model of one of the tokenizers between stages that have nothing to do with it."""
    tokenizer = Tokenizer.from_str(rng.choice(made).to_str())
    tokenizer.normalizer = random_normalizer(rng, char_maps)
    tokenizer.pre_tokenizer = random_pre_tokenizer(rng)
    tokenizer.post_processor = random_post_processor(rng)
    for content in rng.sample(["the", " of ", "\u2581", "E", "n\u0303", "<x>", "A b"], 3):
        flags = {name: rng.random() < 0.4 for name in ["single_word", "lstrip", "rstrip", "normalized"]}
        # A token that is normalized away is refused by limn.
        flags["normalized"] = flags["normalized"] and tokenizer.normalizer.normalize_str(content) != ""
        tokenizer.add_tokens([AddedToken(content, **flags)])
    return tokenizer


def sentencepiece_models(texts):
    return {
        "sentencepiece-unigram": train_sentencepiece(texts, model_type="unigram", user_defined_symbols=["<sep>", "quarterback"]),
        # As Llama 2's.
        "sentencepiece-bpe": train_sentencepiece(
            texts, model_type="bpe", normalization_rule_name="identity", byte_fallback=True, split_digits=True,
            allow_whitespace_only_pieces=True, remove_extra_whitespaces=False),
    }


def make(texts, folder, rng, num_mixtures):
    """Writes tokenizers into `folder`, a folder each, and returns these."""
    made = {name: kind(texts) for name, kind in KINDS.items()}
    char_maps = [
        base64.b64decode(part["precompiled_charsmap"])
        for name in ["t5", "albert"] for part in parts_of(json.loads(made[name].to_str())["normalizer"]) if part["type"] == "Precompiled"]
    trained = list(made.values())
    for i in range(num_mixtures):
        made[f"mixture-{i}"] = random_mixture(rng, trained, char_maps)
    for name, tokenizer in made.items():
        (folder / name).mkdir()
        tokenizer.save(str(folder / name / "tokenizer.json"))
    sentencepieces = sentencepiece_models(texts)
    for name, model in sentencepieces.items():
        (folder / name).mkdir()
        (folder / name / "tokenizer.model").write_bytes(model)
    return [folder / name for name in [*made, *sentencepieces]]


def parts_of(stage):
    return stage["normalizers"] if stage["type"] == "Sequence" else [stage]
