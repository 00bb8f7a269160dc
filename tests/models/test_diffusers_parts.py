"""What diffusers loads without need is put off, and is there where it is needed after all."""

from __future__ import annotations

import sys

from xray.models.diffusers_parts import EulerDiscreteScheduler, put_off


def test_a_module_that_is_put_off_is_loaded_by_what_takes_something_out_of_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    with put_off("tabnanny"), put_off("not_there"), put_off("json"):
        import tabnanny

        assert not hasattr(tabnanny, "__file__")
        assert sys.modules["json"].__file__  # was there already
        from tabnanny import check

        assert sys.modules["tabnanny"].check is check
        assert sys.modules["tabnanny"].__file__
    assert sys.modules["tabnanny"].check is check
    assert "not_there" not in sys.modules
    monkeypatch.delitem(sys.modules, "tabnanny")
    with put_off("tabnanny"):
        import tabnanny
    assert "tabnanny" not in sys.modules
    assert tabnanny.check is sys.modules["tabnanny"].check


def test_noise_levels_that_need_the_statistics_have_them():
    scheduler = EulerDiscreteScheduler(use_beta_sigmas=True)
    scheduler.set_timesteps(4)
    assert scheduler.sigmas[0] > scheduler.sigmas[1] > 0
