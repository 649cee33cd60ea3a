"""Generate brain-like phantoms with and without a lesion. They test the pipeline end to end, not its accuracy.

A phantom is a head in its own coordinates (scalp outline at radius 1), imaged by a simulated scanner. Only the lesion
separates the classes: size, pose, contrast, noise and distractors come from the same distributions.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from brain_tumor.images import encode_png

LESION_RADIUS = (0.18, 0.33)
# Distance from the centre: most tumours lie in one hemisphere, and a heatmap with its peak at the centre must not score.
LESION_DISTANCE = (0.28, 0.54)
SPOT_RADIUS = (0.015, 0.045)
HEAD_LEVEL = 0.03
VOLUME_SIDE_PX = 256
VOLUME_HEIGHT = 0.6  # of the first and the last slice above and below the middle of the head, whose outline is a sphere


@dataclass(frozen=True)
class Contrast:
    """Intensity of each tissue in one MRI sequence, 0-1, and of the lesion types seen in it."""

    scalp: float
    bone: float
    fluid: float
    grey: float
    white: float
    lesions: tuple[float, ...]
    oedema: float


CONTRASTS = (
    Contrast(scalp=0.62, bone=0.06, fluid=0.14, grey=0.38, white=0.50, lesions=(0.98, 0.92, 0.12), oedema=0.30),  # T1
    Contrast(scalp=0.50, bone=0.06, fluid=0.10, grey=0.44, white=0.36, lesions=(0.98, 0.92, 0.90), oedema=0.62),  # FLAIR
    Contrast(scalp=0.45, bone=0.05, fluid=0.62, grey=0.42, white=0.32, lesions=(1.0, 0.95, 0.06), oedema=0.58),  # T2
)


def make_phantom(rng: np.random.Generator, *, lesion: bool) -> tuple[np.ndarray, np.ndarray]:
    """Generate one phantom.

    Returns:
        The image, uint8 [h, w], 0-255, and the mask of its lesion, uint8 [h, w], 255 inside and 0 outside.
    """
    height = int(rng.integers(150, 321))
    x, y = _head_grid(rng, height, int(height * rng.uniform(0.8, 1.15)))
    contrast = CONTRASTS[rng.integers(len(CONTRASTS))]
    centre, radius = _random_point(rng, *LESION_DISTANCE), rng.uniform(*LESION_RADIUS)
    anatomy_x, anatomy_y = _apply_mass_effect(x, y, centre, radius * rng.uniform(0.2, 0.6)) if lesion else (x, y)
    levels = _draw_anatomy(rng, anatomy_x, anatomy_y, contrast)
    levels = _add_distractors(rng, levels, x, y, contrast)
    mask = np.zeros(levels.shape, bool)
    if lesion:
        levels, mask = _add_lesion(rng, levels, _relative_radius(rng, x - centre[0], y - centre[1]) / radius, contrast)
    return _simulate_scanner(rng, levels, rng), mask.astype(np.uint8) * 255


def make_volume(seed: int, slices: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Generate the axial slices of one head with a spherical lesion, which grows from slice to slice and shrinks again.

    Every slice draws the same anatomy, lesion and scanner; the section of head and lesion, and the noise, are its own.

    Args:
        seed: Seed of the volume.
        slices: Number of slices, at even distances from the feet to the head.

    Returns:
        The slices and the masks of the lesion, each uint8 [slices, 256, 256], 0-255, as those of `make_phantom`.
    """
    drawn = np.random.default_rng([seed, 0])
    centre, lesion_height = _random_point(drawn, *LESION_DISTANCE), drawn.uniform(-0.2, 0.2)
    images, masks = np.zeros((2, slices, VOLUME_SIDE_PX, VOLUME_SIDE_PX), np.uint8)
    for index, height in enumerate(np.linspace(-VOLUME_HEIGHT, VOLUME_HEIGHT, slices)):
        rng, lesion_rng = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
        radius = np.sqrt(max(LESION_RADIUS[1] ** 2 - (height - lesion_height) ** 2, 0))
        x, y = _head_grid(rng, VOLUME_SIDE_PX, VOLUME_SIDE_PX)
        contrast = CONTRASTS[rng.integers(len(CONTRASTS))]
        section = np.float32(np.sqrt(1 - height**2))
        levels = _draw_anatomy(rng, *_apply_mass_effect(x / section, y / section, centre, 0.4 * radius), contrast)
        levels = _add_distractors(rng, levels, x / section, y / section, contrast)
        if radius > 0:
            distance = _relative_radius(lesion_rng, x - centre[0], y - centre[1]) / radius
            levels, mask = _add_lesion(lesion_rng, levels, distance, contrast)
            masks[index] = mask * np.uint8(255)
        images[index] = _simulate_scanner(rng, levels, np.random.default_rng([seed, 3, index]))
    return images, masks


def phantom_pngs(count: int) -> list[bytes]:
    """Return PNG-encoded phantoms, every second one with a lesion. They test a model without patient data."""
    rng = np.random.default_rng(0)
    return [encode_png(Image.fromarray(make_phantom(rng, lesion=index % 2 == 1)[0])) for index in range(count)]


def _head_grid(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return head coordinates x, y of every pixel, float32 [h, w], randomly rotated, shifted and scaled; outline at radius 1."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    columns = (columns * (width / height) - rng.uniform(-0.12, 0.12)).astype(np.float32)
    rows = rows - np.float32(rng.uniform(-0.12, 0.12))
    angle = rng.normal(0, np.radians(12))
    long, broad = rng.uniform(0.74, 1.02), rng.uniform(0.74, 0.92)
    x = (np.cos(angle) * columns + np.sin(angle) * rows) / np.float32(long * broad)
    y = (-np.sin(angle) * columns + np.cos(angle) * rows) / np.float32(long)
    return x.astype(np.float32), y.astype(np.float32)


def _relative_radius(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, roughness: float = 0.16) -> np.ndarray:
    """Return the radius of every pixel relative to a random irregular outline, float32 [h, w]; 1 on the outline."""
    angle = np.arctan2(y, x)
    outline = np.ones_like(x)
    for order in range(2, 7):
        outline += rng.normal(0, roughness / order**0.7) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return np.hypot(x, y) / np.maximum(outline, 0.4)


def _random_point(rng: np.random.Generator, minimum: float, maximum: float) -> tuple[float, float]:
    """Sample a point between two distances from the centre of the head, uniformly over the area."""
    angle, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(minimum**2, maximum**2))
    return float(distance * np.cos(angle)), float(distance * np.sin(angle))


def _apply_mass_effect(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Displace the anatomy away from `centre`, as a growing mass does; the head outline stays."""
    away_x, away_y = x - centre[0], y - centre[1]
    pull = strength * np.exp(-np.hypot(away_x, away_y) / 0.35) * np.clip(1.1 - np.hypot(x, y), 0, 1)
    distance = np.hypot(away_x, away_y) + 0.05
    return x - pull * away_x / distance, y - pull * away_y / distance


def _draw_anatomy(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Return the intensity of a head without lesion, float32 [h, w], 0-1."""
    radius = _relative_radius(rng, x, y, roughness=0.03)
    folds = _smooth_noise(rng, x.shape, int(rng.integers(20, 34)))
    depth = radius + 0.05 * _smooth_noise(rng, x.shape, 12)
    brain = rng.uniform(0.80, 0.88)
    levels = _blend(contrast.white, contrast.grey, _ramp(depth - rng.uniform(0.5, 0.66), 0.03))
    levels = _blend(levels, contrast.grey, np.exp(-((folds / 0.3) ** 2)) * _ramp(radius - 0.42, 0.05))
    levels = _blend(levels, contrast.fluid, 0.85 * np.exp(-((folds / 0.14) ** 2)) * _ramp(radius - rng.uniform(0.5, 0.7), 0.05))
    levels = _blend(levels, contrast.fluid, _ventricle_coverage(rng, x, y))
    falx = _ramp(0.012 - np.abs(x + 0.01 * folds), 0.006) * _ramp(np.abs(y) - rng.uniform(0.2, 0.5), 0.03)
    levels = _blend(levels, contrast.fluid, 0.8 * falx)
    levels = _blend(levels, contrast.fluid, _ramp(radius - brain, 0.008))
    levels = _blend(levels, contrast.bone, _ramp(radius - brain - rng.uniform(0.0, 0.03), 0.006))
    levels = _blend(levels, contrast.scalp * rng.uniform(0.6, 1.1), _ramp(radius - rng.uniform(0.91, 0.95), 0.008))
    return _blend(levels, 0.0, _ramp(radius - 1, 0.006))


def _ventricle_coverage(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the fraction of each pixel in the two lateral ventricles, float32 [h, w], 0-1; their sizes differ slightly."""
    length, gap, top = rng.uniform(0.12, 0.34), rng.uniform(0.05, 0.12), rng.uniform(-0.15, 0.15)
    coverage = np.zeros_like(x)
    for side in (-1, 1):
        width = rng.uniform(0.03, 0.1)
        bow = gap + rng.uniform(0.3, 1.2) * (y - top) ** 2
        inside = 1 - np.hypot((side * x - bow) / width, (y - top) / (length * rng.uniform(0.85, 1.15)))
        coverage = np.maximum(coverage, _ramp(inside, 0.12))
    return coverage


def _add_distractors(
    rng: np.random.Generator, levels: np.ndarray, x: np.ndarray, y: np.ndarray, contrast: Contrast
) -> np.ndarray:
    """Add structures that are no lesions: vessels, small spots and, in low slices, the eyes."""
    for _ in range(rng.integers(0, 6)):
        centre = _random_point(rng, 0.14, 0.72)
        distance = _relative_radius(rng, x - centre[0], y - centre[1]) / rng.uniform(*SPOT_RADIUS)
        levels = _blend(levels, rng.choice([0.1, 0.75, 0.9]), _ramp(1 - distance, 0.15))
    if rng.random() < 0.2:
        width, height, size = rng.uniform(0.32, 0.42), rng.uniform(-0.72, -0.62), rng.uniform(0.08, 0.11)
        distance = np.hypot(np.abs(x) - width, y - height) / size
        levels = _blend(levels, max(contrast.fluid, 0.3), _ramp(1 - distance, 0.1))
    return levels


def _add_lesion(
    rng: np.random.Generator, levels: np.ndarray, distance: np.ndarray, contrast: Contrast
) -> tuple[np.ndarray, np.ndarray]:
    """Add a homogeneous or ring-enhancing lesion with oedema to `levels`, float32 [h, w], 0-1.

    `distance`, float32 [h, w], is 0 at the lesion's centre and 1 at its outline.

    Returns:
        The intensity, float32 [h, w], and the mask, bool [h, w].
    """
    tissue = levels > contrast.bone + 0.02
    uneven = 0.1 * _smooth_noise(rng, levels.shape, 40)
    level = contrast.lesions[rng.integers(len(contrast.lesions))]
    halo = _ramp(rng.uniform(1.1, 1.7) + uneven - distance, 0.12) * rng.uniform(0.3, 0.9)
    painted = _blend(levels, contrast.oedema, halo * tissue)
    painted = _blend(painted, level * (1 + uneven), _ramp(1 - distance, 0.04))
    if level > 0.5 and rng.random() < 0.5:
        painted = _blend(painted, contrast.fluid * (1 + uneven), _ramp(rng.uniform(0.5, 0.72) + 0.5 * uneven - distance, 0.05))
    return painted, distance < 1


def _simulate_scanner(rng: np.random.Generator, levels: np.ndarray, noise_rng: np.random.Generator) -> np.ndarray:
    """Return the acquired image, uint8 [h, w]: bias field, gamma, resolution, Rician noise (Gudbjartsson 1995)."""
    levels = levels * np.exp(0.14 * _smooth_noise(rng, levels.shape, 4))
    levels = np.clip(levels, 0, 1.2) ** rng.uniform(0.85, 1.2)
    levels *= rng.uniform(0.24, 0.38) / levels[levels > HEAD_LEVEL].mean()  # exposure depends on the head, not on the class
    height, width = levels.shape
    coarse = rng.uniform(0.55, 1.0)
    image = Image.fromarray(levels.astype(np.float32))
    image = image.resize((round(width * coarse), round(height * coarse)), Image.Resampling.BILINEAR)
    levels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.uniform(0.01, 0.05) * noise_rng.standard_normal((2, height, width), dtype=np.float32)
    return (np.clip(np.hypot(levels + noise[0], noise[1]), 0, 1) * 255).astype(np.uint8)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> np.ndarray:
    """Return smooth noise, float32 [h, w], mean about 0, standard deviation about 0.8, with `cells` cells per side."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _ramp(values: np.ndarray, softness: float) -> np.ndarray:
    """Return 0 below zero and 1 above it, with a linear edge of width 2 * `softness`."""
    return np.clip(0.5 + values / (2 * softness), 0, 1)


def _blend(background: np.ndarray | float, foreground: np.ndarray | float, alpha: np.ndarray) -> np.ndarray:
    return background + (foreground - background) * alpha
