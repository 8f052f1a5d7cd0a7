"""Times the naive way on a GPU: one forward pass of transformers for each perturbation.

    compare_gpu_naive.py CONFIG [--tokens N] [--targets T] [--batches 1,2,4] [--repeat K] [--layers L]

CONFIG is a config.json, as `limn bench` takes it. The model has random weights in bfloat16. A pass is over
the whole sequence of N prompt and T target tokens, with the logits of all rows and one row of the mask
changed, which hides a token: attention by scaled_dot_product_attention with a mask of each perturbation's
own. Prints, for each number of perturbations in a pass, the seconds of a pass (the median of K), and those
of an explanation of all N tokens, scaled from it; and one JSON line. Needs torch and transformers.
"""

import argparse
import json
import statistics
import time

import torch
import transformers


def random_model(config: dict, layers: int) -> torch.nn.Module:
    config = dict(config)
    if layers:
        config["num_hidden_layers"] = layers
    typed = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            typed, dtype=torch.bfloat16, attn_implementation="sdpa")
    model.to_empty(device="cuda")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.02)
        # Buffers are not weights: the frequencies of rotary positions.
        for name, buffer in model.named_buffers():
            if name.endswith("inv_freq"):
                half = torch.arange(buffer.numel(), device="cuda", dtype=torch.float32)
                buffer.copy_(10000.0 ** -(half / buffer.numel()))
    return model.eval()


def seconds_of_pass(model: torch.nn.Module, length: int, batch: int, repeat: int) -> float:
    ids = torch.randint(0, 1000, (batch, length), device="cuda")
    lowest = torch.finfo(torch.bfloat16).min
    mask = torch.full((length, length), lowest, device="cuda", dtype=torch.bfloat16).triu(1)
    mask = mask.repeat(batch, 1, 1, 1)
    for row in range(batch):
        mask[row, :, :, 3 + row] = lowest
    positions = torch.arange(length, device="cuda").expand(batch, -1)
    times = []
    with torch.inference_mode():
        for i in range(repeat + 1):
            torch.cuda.synchronize()
            start = time.perf_counter()
            # OPT would count its positions in the mask, which has two dimensions more than it thinks.
            model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
            torch.cuda.synchronize()
            if i > 0:
                times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--targets", type=int, default=16)
    parser.add_argument("--batches", default="1,2,4")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--layers", type=int, default=0)
    arguments = parser.parse_args()

    with open(arguments.config, encoding="utf-8") as file:
        config = json.load(file)
    start = time.perf_counter()
    model = random_model(config, arguments.layers)
    torch.cuda.synchronize()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, transformers {transformers.__version__}: "
          f"made in {time.perf_counter() - start:.1f} s", flush=True)
    length = arguments.tokens + arguments.targets - 1
    results = []
    for batch in map(int, arguments.batches.split(",")):
        seconds = seconds_of_pass(model, length, batch, arguments.repeat)
        passes = (arguments.tokens + 1) / batch
        results.append({"batch": batch, "pass_s": seconds, "explanation_s": seconds * passes,
                        "memory_bytes": torch.cuda.max_memory_allocated()})
        print(f"batch {batch}: {seconds:.4f} s a pass, {seconds * passes:.1f} s an explanation", flush=True)
    print(json.dumps({"config": arguments.config, "tokens": arguments.tokens, "targets": arguments.targets,
                      "results": results}))


if __name__ == "__main__":
    main()
