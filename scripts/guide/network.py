"""The transformer, as llama.cpp computes its llama architecture.

RMSNorm, RoPE, grouped-query attention, SwiGLU, tied embeddings. Tensors are called as in the GGUF file, so that export
is a copy. Q and K need no permutation, because the rotation here already works on neighbouring pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network. Widths are multiples of 32, so that block quantisation stays possible."""

    vocabulary: int
    width: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2
    feed_forward: int = 512
    context_tokens: int = 4096
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class Norm(nn.Module):
    """RMSNorm with a gain."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


class Block(nn.Module):
    """One layer: attention, then feed-forward, each with its norm in front and a residual around."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kv_width = shape.kv_heads * shape.head_width
        self.shape = shape
        self.attn_norm = Norm(shape.width, shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = Norm(shape.width, shape.norm_epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        x = x + self._attend(self.attn_norm(x), turn)
        y = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(y)) * self.ffn_up(y))

    def _attend(self, x: Tensor, turn: Tensor) -> Tensor:
        """Causal attention. Padding stands on the right, so no mask beyond causality is needed."""
        rows, length, _ = x.shape
        query = rotate(self.attn_q(x).view(rows, length, self.shape.heads, -1), turn).transpose(1, 2)
        key = rotate(self.attn_k(x).view(rows, length, self.shape.kv_heads, -1), turn).transpose(1, 2)
        value = self.attn_v(x).view(rows, length, self.shape.kv_heads, -1).transpose(1, 2)
        group = self.shape.heads // self.shape.kv_heads
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        output: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(rows, length, -1))
        return output


class Network(nn.Module):
    """Token ids and positions in, hidden states out; `logits` maps chosen states to the vocabulary."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = dropout
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_epsilon)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(parameter, std=0.04 / (2 * shape.layers) ** 0.5 if into_residual else 0.04)

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Hidden states [rows, length, width]."""
        half = self.shape.head_width // 2
        frequency = self.shape.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = positions[:, :, None, None].float() * frequency
        turn = torch.polar(torch.ones_like(angle), angle)
        x = functional.dropout(self.token_embd(ids), self.dropout, self.training)
        for block in self.blk:
            x = block(x, turn)
        states: Tensor = self.output_norm(x)
        return states

    def logits(self, states: Tensor) -> Tensor:
        """Scores of the vocabulary for each state."""
        return functional.linear(states, self.token_embd.weight)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """RoPE on neighbouring pairs of [rows, length, heads, head_width], each pair taken as one complex number."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)
