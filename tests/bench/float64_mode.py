"""transformers in float64 throughout."""

import torch
from torch.overrides import TorchFunctionMode


class Float64Mode(TorchFunctionMode):
    """Gives float64 to model code that asks for float32, as norms, softmax and rotary angles do."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            return args[0].double()

        def widened(value):
            return torch.float64 if value is torch.float32 else value

        return function(*map(widened, args), **{name: widened(value) for name, value in (kwargs or {}).items()})
