"""What a model asks of the shape of its inputs."""

from __future__ import annotations

from lossbench.errors import ConfigError


def require_images(model: str, input_shape: tuple[int, ...], min_side: int) -> tuple[int, int, int]:
    """Refuse, before anything is trained, inputs that the architecture cannot take.

    Args:
        model: the model's name, for the message.
        input_shape: the shape of one example.
        min_side: the smallest height and width in pixels.

    Returns:
        Channels, height and width.

    Raises:
        ConfigError: if the examples are not images `[channels, height, width]`, or are too small.
    """
    if len(input_shape) != 3:
        raise ConfigError(
            f"model {model} needs images [channels, height, width]; this data set gives {list(input_shape)}"
        )
    channels, height, width = input_shape
    if min(height, width) < min_side:
        raise ConfigError(
            f"model {model} needs images of at least {min_side}×{min_side} pixels; this data set gives {height}×{width}"
        )
    return channels, height, width
