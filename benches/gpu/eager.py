#!/usr/bin/env python3
"""Milliseconds a training step of a RAT-SPN in PyTorch, for `cargo bench --bench gpu` to stand beside.

The model is the one that pcc trains: `replicas` binary trees over permuted variables, `units` units a region,
elementwise products, sum layers with softmax weights that are parameters or that a network makes of an embedding a
sector, and a mixture of the trees; the objective is the sum of -ln p over the batch; the optimiser is Adam. It is
written as a person would write it who knows PyTorch: log domain, all regions of a level in one batched product, log-sum-exp
by subtracting the largest unit. As in pcc, neighbours are paired level by level, the last three where a level is odd.

Prints `eager_ms=`, `graph_ms=` (compiled by torch.compile, the whole step replayed as a CUDA graph) and `pyjuice_ms=`,
those that can be measured; stderr says why another cannot.
"""

import argparse
import sys
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--variables", type=int, required=True)
    parser.add_argument("--states", type=int, default=2)
    parser.add_argument("--units", type=int, default=5)
    parser.add_argument("--replicas", type=int, default=50)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--network", help="widths: of embeddings, then of hidden layers")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--device", default="cuda", help="cpu measures the eager form alone, to try this out")
    return parser.parse_args()


def model_of(args, torch):
    """A module from rows, [batch, variables] of categories, to the sum of -ln p."""
    n, k, replicas = args.variables, args.units, args.replicas
    # Regions of each level over the leaves; the last is the root of the tree.
    counts = []
    while (counts or [n])[-1] > 1:
        counts.append((counts or [n])[-1] // 2)

    class Network(torch.nn.Module):
        """Logits of all sectors of one shape class, [replicas, sectors, k, width]."""

        def __init__(self, widths, sectors):
            super().__init__()
            self.embedding = torch.nn.Parameter(torch.rand(sectors, widths[0]))
            layers = []
            for a, b in zip(widths, widths[1:] + [k * max(k, args.states)]):
                layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
            self.layers = torch.nn.Sequential(*layers[:-1])

        def forward(self):
            return self.layers(self.embedding).view(-1, k, max(k, args.states))

    class RatSpn(torch.nn.Module):
        def __init__(self):
            super().__init__()
            orders = torch.stack([torch.randperm(n) for _ in range(replicas)])
            self.register_buffer("orders", orders)
            inner = sum(counts)
            self.mixture = torch.nn.Parameter(torch.zeros(replicas))
            self.network = None
            if args.network:
                widths = [int(width) for width in args.network.split(",")]
                self.network = Network(widths, replicas * (n + inner))
            else:
                self.leaves = torch.nn.Parameter(torch.randn(replicas, n, k, args.states))
                self.sums = torch.nn.Parameter(torch.randn(replicas, inner, k, k))

        def weights(self):
            if self.network is None:
                leaves, sums = self.leaves, self.sums
            else:
                logits = self.network().view(replicas, -1, k, max(k, args.states))
                leaves, sums = logits[:, :n, :, : args.states], logits[:, n:, :, :k]
            return leaves.log_softmax(-1), sums.softmax(-1)

        def forward(self, rows):
            leaves, sums = self.weights()
            # ln of each leaf's units at the rows' states, [replicas, variables, batch, k].
            states = rows.t()[self.orders][..., None].expand(-1, -1, -1, k)
            values = leaves.transpose(-1, -2).gather(2, states)
            first = 0
            for count in counts:
                products = values[:, 0 : 2 * count : 2] + values[:, 1 : 2 * count : 2]
                if values.shape[1] > 2 * count:
                    joined = products[:, -1:] + values[:, -1:]
                    products = torch.cat([products[:, :-1], joined], 1)
                weights = sums[:, first : first + count, : 1 if count == 1 else k]
                first += count
                top = products.amax(-1, keepdim=True)
                values = top + ((products - top).exp() @ weights.transpose(-1, -2)).log()
            trees = values[:, 0, :, 0] + self.mixture.log_softmax(0)[:, None]
            return -trees.logsumexp(0).sum()

    return RatSpn()


def seconds_of(step, synchronise, length):
    """Mean seconds of a call, after some to warm up."""
    for _ in range(10):
        step()
    synchronise()
    start, calls = time.perf_counter(), 0
    while True:
        for _ in range(10):
            step()
        synchronise()
        calls += 10
        elapsed = time.perf_counter() - start
        if elapsed >= length:
            return elapsed / calls


def tell(name, measure):
    """Prints what `measure` returns, or on stderr why it cannot."""
    try:
        print(f"{name}_ms={1e3 * measure():.4f}", flush=True)
    except Exception as error:  # Out of memory, or something of another library: the other columns still count.
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)


def main():
    args = arguments()
    try:
        import torch
    except ImportError as error:
        print(f"PyTorch: {error}", file=sys.stderr)
        return
    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("PyTorch: no CUDA device", file=sys.stderr)
        return
    torch.manual_seed(0)
    # Single precision is what pcc computes in.
    torch.backends.cuda.matmul.allow_tf32 = False
    synchronise = torch.cuda.synchronize if on_gpu else lambda: None
    data = torch.randint(args.states, (10 * args.batch, args.variables), device=device)
    # As in pcc, rows are drawn anew for each step, from data that lie on the device.
    drawn = [torch.randperm(len(data), device=device)[: args.batch] for _ in range(64)]
    turn = [0]

    def batch():
        turn[0] = (turn[0] + 1) % len(drawn)
        return data[drawn[turn[0]]]

    def eager():
        model = model_of(args, torch).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

        def step():
            optimizer.zero_grad(set_to_none=True)
            model(batch()).backward()
            optimizer.step()

        return seconds_of(step, synchronise, args.seconds)

    def graph():
        model = model_of(args, torch).to(device)
        compiled = torch.compile(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, capturable=True)
        rows = batch().clone()

        def once():
            optimizer.zero_grad(set_to_none=True)
            compiled(rows).backward()
            optimizer.step()

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                once()
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            once()

        def step():
            rows.copy_(batch())
            recorded.replay()

        return seconds_of(step, synchronise, args.seconds)

    def pyjuice():
        import pyjuice as juice

        depth = (args.variables - 1).bit_length()
        circuit = juice.structures.RAT_SPN(
            num_vars=args.variables,
            num_latents=args.units,
            depth=depth,
            num_repetitions=args.replicas,
            input_layer_params={"num_cats": args.states},
        )
        pc = juice.compile(circuit)
        pc.to(device)

        # What it is fast at: a step of EM by flows.
        def step():
            rows = batch()
            pc(rows)
            pc.backward(rows, flows_memory=0.0, allow_modify_flows=False, logspace_flows=True)
            pc.mini_batch_em(step_size=0.01, pseudocount=0.1)

        return seconds_of(step, synchronise, args.seconds)

    tell("eager", eager)
    if on_gpu:
        tell("graph", graph)
        # Its units come in blocks of powers of two.
        if args.network is None:
            tell("pyjuice", pyjuice)


if __name__ == "__main__":
    main()
