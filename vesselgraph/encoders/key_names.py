"""Weights under the key names of other libraries, brought to those of the networks made here. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from vesselgraph.encoders.efficientnet import own_names

_TIMM = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "reg_token": "embeddings.register_tokens",
}


def from_timm_vit(keys: Mapping[str, Tensor], wanted: frozenset[str]) -> dict[str, Tensor]:
    """Return weights of a timm vision transformer by the names of a transformers ViT or DINOv2.

    timm keeps query, key and value in one matrix, which is cut into three. Which names the blocks have is read from ``wanted``,
    the names of the network to be filled; DINOv2's mask token, which timm leaves out, is filled with zeros.
    """
    is_dinov2 = any(key.startswith("encoder.layer.") for key in wanted)
    made: dict[str, Tensor] = {}
    for key, value in keys.items():
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            made |= _block(rest, value, f"{'encoder.layer' if is_dinov2 else 'layers'}.{number}.", is_dinov2)
        elif key.startswith("norm."):
            made["layernorm." + key.removeprefix("norm.")] = value
        else:
            old = next((old for old in _TIMM if key.startswith(old)), "")
            made[_TIMM.get(old, "") + key.removeprefix(old)] = value
    if "embeddings.mask_token" in wanted:
        made.setdefault("embeddings.mask_token", keys["cls_token"].new_zeros(1, keys["cls_token"].shape[-1]))
    return made


def _block(rest: str, value: Tensor, home: str, is_dinov2: bool) -> dict[str, Tensor]:
    part, _, last = rest.rpartition(".")
    if part == "attn.qkv":
        return {f"{home}attention.{one}_proj.{last}": cut.clone() for one, cut in zip("qkv", value.chunk(3), strict=True)}
    names = {"attn.proj": "attention.o_proj", "ls1": "layer_scale1", "ls2": "layer_scale2", "mlp.fc1": "mlp.fc1"}
    names |= {"mlp.fc2": "mlp.fc2", "norm1": "norm1", "norm2": "norm2"}
    if not is_dinov2:
        names |= {"norm1": "layernorm_before", "norm2": "layernorm_after"}
    return {f"{home}{names.get(part, part)}.{'lambda1' if last == 'gamma' else last}": value}


TRANSLATIONS: Mapping[str, Callable[[Mapping[str, Tensor], frozenset[str]], dict[str, Tensor]]] = {
    "": lambda keys, _: dict(keys),
    "efficientnet-lite": lambda keys, _: own_names(dict(keys)),
    "timm-vit": from_timm_vit,
}
"""How keys are translated, by the name a card gives it."""
