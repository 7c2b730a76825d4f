"""One attention function for every Hugging Face decoder: packed rows when a layout is given, SDPA otherwise.

Importing this module registers the attention implementation "rewardplane" with transformers. A model set to
it runs packed rows (`forward.packed_hidden`) and everything that SDPA runs (generation with a KV cache).
No model is rewritten: the packed row travels through the model as the keyword argument `packed_pairs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .forest import Segment
from .fused.attention import attend_runs, runs_kernel
from .layout import Bundle, Layout
from .packed_row import is_packed_row
from .packing import PackedPairs
from .rounded import rounded_dtype
from .varlen import attend_varlen, runs_varlen

NAME = "rewardplane"


class UnsupportedAttention(ValueError):
    """The model asks for something of its attention that packed rows cannot do."""


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    # A packed row needs no [T, T] mask: its segments say who attends to whom.
    return None if is_packed_row() else sdpa_mask(*args, **kwargs)


def attend(
    module: nn.Module,
    query: Tensor,  # [B, H, T, D]
    key: Tensor,  # [B, G, T, D]  G divides H
    value: Tensor,  # [B, G, T, D]
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_pairs: PackedPairs | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:  # [B, T, H, D]
    if packed_pairs is None:
        if softcap is not None or s_aux is not None:
            raise UnsupportedAttention(
                f"{type(module).__name__} caps its attention logits or has sinks, which SDPA lacks: "
                'set_attn_implementation("eager") before generating'
            )
        if query.shape[2] == 1 and query.device.type == "cuda":
            return one_query(query, key, value, attention_mask, scaling), None
        return sdpa_attention_forward(
            module, query, key, value, attention_mask,
            dropout=dropout, scaling=scaling, sliding_window=sliding_window, **kwargs,
        )  # fmt: skip
    if query.shape[0] != 1:
        raise ValueError(f"a packed row has batch size 1, not {query.shape[0]}")
    if dropout:
        raise UnsupportedAttention("dropout must be off: log-probs of one text would differ from pass to pass")
    if softcap is None and s_aux is None:
        return attend_packed(query, key, value, packed_pairs, scaling, sliding_window), None
    return _Attend(scaling, softcap, s_aux, sliding_window).packed(query, key, value, packed_pairs), None


def attend_packed(
    query: Tensor,  # [1, H, T, D]
    key: Tensor,  # [1, G, T, D]  G divides H
    value: Tensor,  # [1, G, T, D]
    packed: PackedPairs,
    scaling: float | None,
    window: int | None,  # positions that a query sees, its own included
) -> Tensor:  # [1, T, H, D]
    """Every segment attends to its ancestors and, causally, to itself. Differentiable."""
    dtype = rounded_dtype(query)
    if runs_varlen(query.device, dtype, query.shape[-1], window):
        query, key, value = (x.to(dtype) for x in (query, key, value))
        return attend_varlen(query, key, value, packed.varlen, scaling, window)
    return _Attend(scaling, None, None, window).packed(query, key, value, packed)


def one_query(
    query: Tensor,  # [B, H, 1, D]
    key: Tensor,  # [B, G, T, D]  G divides H
    value: Tensor,  # [B, G, T, D]
    attention_mask: Tensor | None,  # [B, 1, 1, T]
    scaling: float | None,
) -> Tensor:  # [B, 1, H, D]
    """Of a decoding step: the heads that share keys are as many queries, and no key is copied for them."""
    together = query.reshape(key.shape[0], key.shape[1], -1, query.shape[-1])
    y = F.scaled_dot_product_attention(together, key, value, attn_mask=attention_mask, scale=scaling)
    return y.reshape(query.shape).transpose(1, 2)


def copied_for_heads(
    query: Tensor,  # [1, H, T, D]
    key: Tensor,  # [1, G, T, D]
    value: Tensor,  # [1, G, T, D]
) -> tuple[Tensor, Tensor]:  # [1, H, T, D] each
    """A key and a value for every head, where heads share them."""
    groups = query.shape[1] // key.shape[1]
    if groups == 1:
        return key, value
    return key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)


class _Attend:
    """Attention of each segment to its ancestors and itself, with what the model asks for."""

    def __init__(self, scaling: float | None, softcap: float | None, sinks: Tensor | None, window: int | None) -> None:
        self.scaling = scaling
        self.softcap = softcap
        self.sinks = sinks
        self.window = window

    def packed(self, query: Tensor, key: Tensor, value: Tensor, packed: PackedPairs) -> Tensor:  # [1, T, H, D]
        if not runs_kernel(query, key, value) or self._needs_segments(packed.runs.most_keys):
            return self.rows(query, *copied_for_heads(query, key, value), packed.layout)
        width, runs = query.shape[-1], packed.runs
        rows = attend_runs(_token_rows(query), _token_rows(key), _token_rows(value), runs, width, self.scaling)
        if runs.alone:
            found = self._alone(query, *copied_for_heads(query, key, value), runs.alone, packed.segments)
            rows = rows.index_copy(0, runs.alone_rows, torch.cat(found))
        return rows.view(1, len(rows), -1, width)

    def rows(self, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:  # [1, T, H, D]
        results = []
        if layout.bundles:
            sizes = [len(b.numbers) * b.own for b in layout.bundles], [len(b.numbers) * b.keys for b in layout.bundles]
            # An embedding is a gather whose backward is quick on a CPU, too; one for all bundles.
            queries = F.embedding(layout.query_rows, _token_rows(query)).split(sizes[0])
            keys, values = (F.embedding(layout.key_rows, _token_rows(x)).split(sizes[1]) for x in (key, value))
            for bundle, q, k, v in zip(layout.bundles, queries, keys, values, strict=True):
                if self._needs_segments(bundle.keys):
                    found = self._alone(query, key, value, bundle.numbers, layout.segments)
                    results += [F.pad(x, (0, 0, 0, bundle.own - len(x))) for x in found]
                else:
                    results.append(self._bundle(q, k, v, bundle, query.shape[1]))
        results += self._alone(query, key, value, layout.alone, layout.segments)
        rows: Tensor = F.embedding(layout.order, torch.cat(results)).unflatten(-1, (query.shape[1], -1))
        return rows[None]

    def _bundle(self, query: Tensor, key: Tensor, value: Tensor, bundle: Bundle, heads: int) -> Tensor:
        """[n * own, H * D] and [n * keys, H * D] -> [n * own, H * D]."""
        n = len(bundle.numbers)
        q, k, v = (x.view(n, len(x) // n, heads, -1).transpose(1, 2) for x in (query, key, value))
        mask = None if bundle.mask is None else bundle.mask.to(q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=self.scaling)
        return y.transpose(1, 2).reshape(len(query), -1)

    def _needs_segments(self, num_keys: int) -> bool:
        """Whether the model asks for what SDPA lacks, or for a mask of each segment."""
        return self.softcap is not None or self.sinks is not None or (self.window or num_keys) < num_keys

    def _alone(
        self, query: Tensor, key: Tensor, value: Tensor, numbers: tuple[int, ...], segments: Sequence[Segment]
    ) -> list[Tensor]:  # [length, H * D] each
        if not numbers:
            return []
        lengths = [s.length for s in segments]
        # split, not slices: the backward of a slice fills a zero tensor of the whole row.
        queries, keys, values = (x.split(lengths, dim=2) for x in (query, key, value))
        outputs = []
        for i in numbers:
            k, v = keys[i], values[i]
            if ancestors := segments[i].ancestors:
                k = torch.cat([*(keys[a] for a in ancestors), k], dim=2)
                v = torch.cat([*(values[a] for a in ancestors), v], dim=2)
            outputs.append(_token_rows(self.one(queries[i], k, v)))
        return outputs

    def one(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The queries are the last rows of the keys. [1, H, Tq, D], [1, H, Tk, D] -> [1, H, Tq, D]."""
        n, m = q.shape[2], k.shape[2]
        windowed = self.window is not None and m > self.window
        if self.softcap is not None or self.sinks is not None:
            return self._written_out(q, k, v, _visible(n, m, self.window, q.device))
        if n == m and not windowed:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scaling)
        if n == 1 and not windowed:
            return F.scaled_dot_product_attention(q, k, v, scale=self.scaling)
        mask = _visible(n, m, self.window, q.device)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scaling)

    def _written_out(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
        """With the caps of Gemma 2 (arXiv:2408.00118, section 2) and the sinks of GPT-OSS."""
        scale = self.scaling if self.scaling is not None else q.shape[-1] ** -0.5
        logits = (q @ k.transpose(2, 3)).float() * scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        logits = logits.masked_fill(~visible, float("-inf"))
        if self.sinks is not None:
            sinks = self.sinks.float().reshape(1, -1, 1, 1).expand(1, -1, logits.shape[2], 1)
            weights = torch.cat([logits, sinks], dim=-1).softmax(-1)[..., :-1]
        else:
            weights = logits.softmax(-1)
        return weights.to(v.dtype) @ v


def _token_rows(x: Tensor) -> Tensor:
    """[1, H, T, D] -> [T, H * D]."""
    return x.squeeze(0).transpose(0, 1).flatten(1)  # x[0] would have a backward that fills a zero tensor


def _visible(n: int, m: int, window: int | None, device: torch.device) -> Tensor:
    """bool[n, m]: which of m keys the last n positions see: not the future, not beyond the window."""
    ahead = torch.arange(m, device=device) - torch.arange(m - n, m, device=device)[:, None]
    visible = ahead <= 0
    return visible if window is None else visible & (ahead > -window)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _mask)
