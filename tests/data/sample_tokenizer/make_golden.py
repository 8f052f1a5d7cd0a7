"""Makes tokenizer.json and splits.json beside this file. Needs the PyPI package `tokenizers` (0.23.3).

tokenizer.json is a small byte-level BPE that puts <s> before and </s> behind every text. splits.json is
what the convention of lm-evaluation-harness makes of some prompts and targets with it: the white space
at the prompt's end goes to the target, both are encoded together, and the target's tokens are those
behind as many as the prompt has alone. </s> is left out.
"""

import json
import pathlib

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).parent
CORPUS = [
    "The capital of France is Paris. The capital of Germany is Berlin.",
    "The hamster eats the carrots. The hamsters eat. Dr. Smith said: It rained.",
    "She ate (the carrots). He ate (the hamster).",
    "Question: What is the capital of France? Answer: Paris",
] * 8
PAIRS = [
    ("The capital of France is", " Paris."),
    ("The capital of France is ", "Paris."),
    ("The capital of France is \n\u3000", "Paris."),
    ("The capital of Fra", "nce is Paris."),
    ("Question: What?\nAnswer:", " \U0001F600 ok"),
    ("\u00c9t\u00e9 \u4ed6\u6765\u4e86\u3002", "\u5979"),
    ("  The hamster", "s eat"),
    ("The", "   "),
]


def train():
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


def encode(tokenizer, text):
    encoding = tokenizer.encode(text)
    chars = [
        [-1, -1] if special else list(offsets)
        for special, offsets in zip(encoding.special_tokens_mask, encoding.offsets)
    ]
    return encoding.ids[:-1], chars[:-1]


def split(tokenizer, prompt, target):
    context, _ = encode(tokenizer, prompt.rstrip())
    ids, chars = encode(tokenizer, prompt + target)
    return {
        "prompt": prompt,
        "target": target,
        "ids": ids,
        "chars": chars,
        "prompt_length": len(context),
    }


tokenizer = train()
tokenizer.save(str(FOLDER / "tokenizer.json"))
splits = [split(tokenizer, prompt, target) for prompt, target in PAIRS]
lines = ",\n".join(json.dumps(one) for one in splits)
(FOLDER / "splits.json").write_text(f"[\n{lines}\n]\n")
