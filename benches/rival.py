#!/usr/bin/env python3
"""The plain baseline: the benches' models and products in PyTorch, eager, float32.

Prints the lines that gpu.sh makes a table of:
    figure: BENCH | NAME | pytorch | MEDIAN | RATE
Shapes are those of tests/src/models and benches/benches/kernel_matmul.rs; weights are
random. Inputs are on the device, what is read back is on the host when time is taken.
"""

import argparse
import statistics
import sys
import time

try:
    import torch
    from torch import nn
except ImportError as error:
    sys.exit(f"rival: no PyTorch here ({error})")

PRODUCTS = [(1, 1024, 1024), (128, 384, 1536), (1024, 384, 1536), (1024, 1024, 1024), (4096, 4096, 4096)]
STACKED = [(8, 12, 128, 32, 128), (8, 12, 128, 128, 32)]
BATCHES = [1, 8, 64]


def conv(n_in, n_out, kernel, stride=1, groups=1):
    padding = kernel // 2
    return [nn.Conv2d(n_in, n_out, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(n_out)]


class Bottleneck(nn.Module):
    """Widens, convolves each channel by itself, narrows."""

    def __init__(self, n_in, n_out, expansion, stride):
        super().__init__()
        wide = n_in * expansion
        expand = [*conv(n_in, wide, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*conv(wide, wide, 3, stride, wide), nn.ReLU6()]
        self.body = nn.Sequential(*expand, *depthwise, *conv(wide, n_out, 1))
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x):
        y = self.body(x)
        return x + y if self.is_residual else y


def mobilenet_v2():
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    layers, channels = [*conv(3, 32, 3, 2), nn.ReLU6()], 32
    for expansion, n_out, n_blocks, stride in stages:
        for block in range(n_blocks):
            layers.append(Bottleneck(channels, n_out, expansion, stride if block == 0 else 1))
            channels = n_out
    head = [*conv(channels, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *head)


class Residual(nn.Module):
    """Two 3×3 convolutions with a way around."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.body = nn.Sequential(*conv(n_in, n_out, 3, stride), nn.ReLU(), *conv(n_out, n_out, 3))
        same = stride == 1 and n_in == n_out
        self.around = nn.Identity() if same else nn.Sequential(*conv(n_in, n_out, 1, stride))

    def forward(self, x):
        return torch.relu(self.body(x) + self.around(x))


def resnet_18():
    layers, channels = [*conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for stage, n_out in enumerate([64, 128, 256, 512]):
        layers += [Residual(channels, n_out, 2 if stage else 1), Residual(n_out, n_out, 1)]
        channels = n_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


class EncoderLayer(nn.Module):
    """Attention of 12 heads and a feed-forward part, each normalised after it is added."""

    def __init__(self, width=384, n_heads=12):
        super().__init__()
        self.n_heads = n_heads
        self.queries, self.keys, self.values, self.joined = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12)

    def forward(self, x, bias):
        rows, n_tokens, width = x.shape
        queries, keys, values = (
            part(x).view(rows, n_tokens, self.n_heads, -1).transpose(1, 2)
            for part in (self.queries, self.keys, self.values)
        )
        scores = queries @ keys.transpose(2, 3) / (width // self.n_heads) ** 0.5 + bias
        seen = (scores.softmax(-1) @ values).transpose(1, 2).reshape(rows, n_tokens, width)
        x = self.first(x + self.joined(seen))
        return self.second(x + self.narrow(nn.functional.gelu(self.wide(x))))


class MiniLm(nn.Module):
    """Six layers, 384 wide, and the mean over what the mask keeps."""

    def __init__(self, vocabulary=30522, width=384):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(512, width)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(EncoderLayer(width) for _ in range(6))

    def forward(self, ids, mask):
        positions = torch.arange(ids.shape[1], device=ids.device)
        mask = mask.float()
        x = self.norm(self.tokens(ids) + self.positions(positions))
        bias = (1 - mask[:, None, None, :]) * -10_000.0
        for layer in self.layers:
            x = layer(x, bias)
        kept = mask[:, :, None]
        return (x * kept).sum(1) / kept.sum(1).clamp(min=1e-9)


def texts(batch, n_tokens=128):
    ids = torch.randint(0, 30522, (batch, n_tokens))
    lengths = torch.tensor([n_tokens - row * 5 % n_tokens for row in range(batch)])
    return ids, (torch.arange(n_tokens)[None, :] < lengths[:, None]).long()


def images(batch):
    return (torch.randn(batch, 3, 224, 224),)


def median_seconds(run, device, rounds):
    """The median of rounds of at least 20 ms each, after as many to warm up."""

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def elapsed(n):
        wait()
        start = time.perf_counter()
        for _ in range(n):
            run()
        wait()
        return (time.perf_counter() - start) / n

    n = max(1, int(0.02 / max(elapsed(2), 1e-7)))
    for _ in range(rounds):
        elapsed(n)
    return statistics.median(elapsed(n) for _ in range(rounds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    options = parser.parse_args()
    device, name = options.device, "pytorch" if options.device == "cuda" else "pytorch-cpu"
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("rival: PyTorch sees no CUDA device")
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    print(f"rival: torch {torch.__version__}, cuda {torch.version.cuda}", flush=True)

    def show(bench, what, seconds, amount, unit):
        rate = f"{amount / seconds / 1e9:.1f} GFLOP/s" if unit == "operations" else f"{amount / seconds:.1f} rows/s"
        print(f"figure: {bench} | {what} | {name} | {seconds * 1e3:.3f} ms | {rate}", flush=True)

    with torch.inference_mode():
        for shape in PRODUCTS + STACKED:
            *stack, m, k, n = shape
            a, b = torch.randn(*stack, m, k, device=device), torch.randn(*stack, k, n, device=device)
            seconds = median_seconds(lambda: (a @ b).amax(-1).cpu(), device, options.rounds)
            count = 2 * m * k * n
            for size in stack:
                count *= size
            what = f"{m}×{k}×{n}"
            show("kernel_matmul", f"{stack[0]}×{stack[1]} of {what}" if stack else what, seconds, count, "operations")
        models = [("mobilenet-v2", mobilenet_v2, images), ("resnet-18", resnet_18, images), ("minilm", MiniLm, texts)]
        for what, make, inputs in models:
            model = make().eval().to(device)
            for batch in options.batches:
                given = [tensor.to(device) for tensor in inputs(batch)]
                seconds = median_seconds(lambda: model(*given).cpu(), device, options.rounds)
                show("session", f"{what}, batch {batch}", seconds, batch, "rows")


if __name__ == "__main__":
    main()
