"""The commands of ``python -m cs231n``: modules with `add_options(parser)`, `run(options)`.

A new command is a module here and a line in `COMMANDS`; it is imported only when it is called.
"""

__all__ = ["COMMANDS"]

# Name of each command, which is that of its module, and what it does.
COMMANDS = {
    "demo": "train a small ConvNet on the built-in data, in some seconds",
    "train": "train a network; write parameters, history and pictures",
    "recipes": "list options of train that reach an accuracy in a time",
    "predict": "tell what a trained network sees in pictures",
    "evaluate": "measure what a trained network gets right and wrong",
    "search": "train many networks, and find the best numbers for one",
    "export": "write a trained network for ONNX or PyTorch",
    "report": "draw the report of a run anew, a page that stands alone",
    "check": "check the gradients of every layer numerically",
    "bench": "time naive against fast layers, and PyTorch",
    "download": "download CIFAR-10, check it and unpack it",
    "info": "print versions, kernels and data found, for a bug report",
}
