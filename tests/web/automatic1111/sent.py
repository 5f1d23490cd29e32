"""Bodies as clients of AUTOMATIC1111 send them, which cannot run in a test themselves."""

from typing import Any

OPEN_WEBUI: dict[str, Any] = {
    "prompt": "a lighthouse at night",
    "batch_size": 1,
    "width": 64,
    "height": 64,
    "steps": 50,
    "negative_prompt": None,
    "cfg_scale": 7.0,
    "sampler_name": "Euler",
    "scheduler": "Automatic",
}
SILLYTAVERN: dict[str, Any] = {
    "prompt": "a lighthouse at night",
    "negative_prompt": "",
    "sampler_name": "Euler",
    "scheduler": "normal",
    "steps": 20,
    "cfg_scale": 7,
    "width": 64,
    "height": 64,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "hr_scale": 2,
    "hr_additional_steps": None,
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "seed": -1,
    "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}
LIBRECHAT: dict[str, Any] = {
    "prompt": "a lighthouse at night",
    "negative_prompt": "",
    "cfg_scale": 4.5,
    "steps": 22,
    "width": 64,
    "height": 64,
}
