"""The pixel-shuffle upsampler: where it starts, what it keeps of the picture, and that it learns."""

import torch

from xray.models.denoiser import Condition
from xray.models.losses import regression_loss
from xray.models.pixel_shuffle import CERTAIN, PixelShuffleUpsampler, enlarge_smoothly
from xray.models.upsampler import HIT_LOGIT, to_model_space

LAYERS, FACTOR, RAYS = 3, 4, 8


def made_low() -> torch.Tensor:
    """(1, 3, 8, 8, 8): a slanted plane on the left half of layer 1, values of its own elsewhere."""
    low = torch.randn(1, LAYERS, 8, RAYS, RAYS, generator=torch.Generator().manual_seed(0))
    column = torch.arange(RAYS) / 10
    low[0, 0, 0] = column[None] + torch.arange(RAYS)[:, None] / 20
    low[:, :, 7] = -1
    low[0, 0, 7, :, :5] = 1
    return low


def made_picture(size=64) -> torch.Tensor:
    picture = torch.rand(1, 4, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    picture[0, 3] = -1
    picture[0, 3, :, : size // 2] = 1
    return picture


def test_the_enlargement_keeps_every_ray_and_is_straight_between_hits():
    low = made_low()
    large = enlarge_smoothly(low, FACTOR)
    assert large.shape == (1, LAYERS, 8, RAYS * FACTOR, RAYS * FACTOR)
    assert torch.allclose(large[..., ::FACTOR, ::FACTOR][:, :, :7], low[:, :, :7], atol=1e-4)
    assert torch.allclose(large[..., ::FACTOR, ::FACTOR][:, :, 7], HIT_LOGIT * low[:, :, 7], atol=1e-5)
    # Inside the plane depth is the plane's; between a hit and a miss it is the hit's, not what the miss holds.
    row, column = torch.arange(29)[:, None], torch.arange(17)[None]
    assert torch.allclose(large[0, 0, 0, :29, :17], column / 40 + row / 80, atol=1e-4)
    assert torch.allclose(large[0, 0, 0, 0, 17:19], torch.tensor([0.4, 0.4]), atol=2e-3)


def test_at_its_start_it_gives_the_picture_in_the_first_layer():
    low, picture = made_low(), made_picture()
    model = PixelShuffleUpsampler(32, 1, LAYERS, FACTOR, picture_patch=8, background=0.5)
    out = model(low, Condition(None, None, picture=picture))
    assert out.shape == (1, LAYERS, 8, 32, 32)
    assert torch.equal(out[0, 0, 7], torch.where(picture[0, 3, ::2, ::2] > 0, CERTAIN, -CERTAIN))
    assert torch.allclose(out[:, 1:], enlarge_smoothly(low, FACTOR)[:, 1:])
    # A first stage that was right about the pixels on its rays leads to the picture's own colour on all rays.
    low[0, 0, 4:7] = picture[0, :3, ::8, ::8]
    colour = model(low, Condition(None, None, picture=picture))[0, 0, 4:7]
    inside = (slice(None), slice(None), slice(0, 16))
    assert torch.allclose(colour[inside], picture[0, :3, ::2, ::2][inside], atol=2e-2)


def test_it_is_saved_and_loaded_and_learns(tmp_path):
    torch.manual_seed(0)
    model = PixelShuffleUpsampler(32, 1, LAYERS, FACTOR, picture_patch=8)
    low, picture = made_low(), made_picture()
    truth = torch.rand(1, LAYERS, 8, 32, 32) * 2 - 1
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = regression_loss(model(low, Condition(None, None, picture=picture)), truth).mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    model.save_pretrained(tmp_path)
    loaded = PixelShuffleUpsampler.from_pretrained(tmp_path)
    with torch.no_grad():
        results = [one(low, Condition(None, None, picture=picture)) for one in (model, loaded)]
    assert torch.equal(*results)
    assert float(to_model_space(results[0])[:, :, 7].abs().max()) <= 1
