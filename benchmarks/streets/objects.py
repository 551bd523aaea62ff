"""The things that stand in a scene, each drawn in a local frame.

Every function takes the canvas, the foot point in pixels, the scale in pixels per metre, the depth
and the generator. The parameter ranges were tuned by eye at 64x128.
"""

import math
from collections.abc import Callable

import numpy as np

from .canvas import Canvas, rectangle

Draw = Callable[[Canvas, float, float, float, float, np.random.Generator], None]


def draw_car(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a car or van, side or front on (the length tells)."""
    group = canvas.new_group()
    length = rng.uniform(1.5, 2.2) if rng.random() < 0.6 else rng.uniform(3.4, 4.6)
    height = rng.uniform(1.3, 1.7)
    if rng.random() < 0.12:
        height, length = height * 1.7, length * 1.15
    b, t = scale * length / 2, scale * height
    body = [
        (x - b, y - 0.25 * t),
        (x - b, y - 0.55 * t),
        (x - 0.68 * b, y - 0.58 * t),
        (x - 0.5 * b, y - t),
        (x + 0.5 * b, y - t),
        (x + 0.75 * b, y - 0.58 * t),
        (x + b, y - 0.52 * t),
        (x + b, y - 0.2 * t),
    ]
    glass = [
        (x - 0.55 * b, y - 0.6 * t),
        (x - 0.42 * b, y - 0.92 * t),
        (x + 0.42 * b, y - 0.92 * t),
        (x + 0.58 * b, y - 0.6 * t),
    ]
    canvas.polygon(z, "body", body, group)
    canvas.polygon(z, "glass", glass, group)
    wheel, light = 0.19 * t + 0.5, 0.07 * t + 0.6
    for side in (-0.62, 0.62):
        canvas.ellipse(z, "wheel", (x + side * b, y - 0.17 * t), (wheel, wheel), group)
    for side in (-0.85, 0.85):
        canvas.ellipse(z, "light", (x + side * b, y - 0.42 * t), (light, light), group)


def draw_person(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a standing person."""
    group = canvas.new_group()
    h = scale * rng.uniform(1.5, 1.9)
    w = 0.15 * h
    legs = [(x - w, y), (x - 0.8 * w, y - 0.5 * h), (x + 0.8 * w, y - 0.5 * h), (x + w, y)]
    canvas.polygon(z, "legs", legs, group)
    torso = rectangle(x - 1.15 * w, y - 0.84 * h, x + 1.15 * w, y - 0.46 * h)
    canvas.polygon(z, "torso", torso, group)
    canvas.ellipse(z, "head", (x, y - 0.91 * h), (0.09 * h + 0.5, 0.1 * h + 0.5), group)


def draw_tree(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a conifer or a round tree."""
    group = canvas.new_group()
    h = scale * rng.uniform(3, 7)
    w = 0.05 * h + 0.5
    canvas.polygon(z, "trunk", rectangle(x - w, y - 0.5 * h, x + w, y), group)
    if rng.random() < 0.3:
        crown = [(x - 0.26 * h, y - 0.25 * h), (x, y - h), (x + 0.26 * h, y - 0.25 * h)]
        canvas.polygon(z, "foliage", crown, group)
        return
    for _ in range(rng.integers(3, 6)):
        centre = (x + rng.uniform(-0.18, 0.18) * h, y - rng.uniform(0.5, 0.85) * h)
        axes = (rng.uniform(0.14, 0.24) * h, rng.uniform(0.12, 0.2) * h)
        canvas.ellipse(z, "foliage", centre, axes, group)


def draw_bush(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a bush."""
    group = canvas.new_group()
    for _ in range(3):
        centre = (x + rng.uniform(-0.8, 0.8) * scale, y - rng.uniform(0.2, 0.5) * scale)
        axes = (rng.uniform(0.4, 0.8) * scale, rng.uniform(0.3, 0.6) * scale)
        canvas.ellipse(z, "foliage", centre, axes, group)


def draw_sign(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a sign plate in one of four shapes, centred on the point."""
    group = canvas.new_group()
    a = scale * rng.uniform(0.38, 0.6) + 1.2
    shape = rng.integers(4)
    if shape == 0:
        canvas.ellipse(z, "plate", (x, y), (a, a), group)
    elif shape == 1:
        canvas.polygon(z, "plate", rectangle(x - a, y - a, x + a, y + a), group)
    elif shape == 2:
        canvas.polygon(z, "plate", [(x - a, y + a), (x, y - a), (x + a, y + a)], group)
    else:
        tall = rectangle(x - 0.6 * a, y - 1.3 * a, x + 0.6 * a, y + 1.3 * a)
        canvas.polygon(z, "plate", tall, group)
    canvas.ellipse(z, "symbol", (x, y + 0.1 * a), (0.4 * a, 0.3 * a), group)


def draw_lamp(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a street lamp."""
    group = canvas.new_group()
    h = scale * rng.uniform(3.5, 6.5)
    w = 0.07 * scale + 0.9
    canvas.polygon(z, "pole", rectangle(x - w, y - h, x + w, y), group)
    reach = (1 if rng.random() < 0.5 else -1) * scale * rng.uniform(0.6, 1.4)
    arm = rectangle(min(x, x + reach), y - h, max(x, x + reach), y - h + 1.4 * w)
    canvas.polygon(z, "pole", arm, group)
    axes = (0.22 * scale + 1, 0.12 * scale + 1)
    canvas.ellipse(z, "lamp", (x + reach, y - h + w), axes, group)


def draw_post(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a street lamp, a post with a sign, or (rarely) a bare post."""
    if rng.random() < 0.45:
        draw_lamp(canvas, x, y, scale, z, rng)
        return
    group = canvas.new_group()
    h = scale * rng.uniform(3.5, 6.5)
    w = 0.07 * scale + 0.9
    canvas.polygon(z, "pole", rectangle(x - w, y - h, x + w, y), group)
    if rng.random() < 0.8:
        draw_sign(canvas, x, y - h * rng.uniform(0.6, 0.95), scale, z - 0.01, rng)


def draw_house(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a house from the front."""
    group = canvas.new_group()
    w, h = scale * rng.uniform(3, 7), scale * rng.uniform(3, 8)
    canvas.polygon(z, "wall", rectangle(x - w / 2, y - h, x + w / 2, y), group)
    if rng.random() < 0.6:
        ridge = (x, y - h - rng.uniform(0.2, 0.5) * w)
        canvas.polygon(z, "roof", [(x - 0.56 * w, y - h), ridge, (x + 0.56 * w, y - h)], group)
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    a, b = 0.26 * w / columns, 0.26 * h / rows
    for i in range(columns):
        for j in range(rows):
            px = x - w / 2 + (i + 0.5) * w / columns
            py = y - h + (j + 0.4) * h / (rows + 0.6)
            canvas.polygon(z, "window", rectangle(px - a, py - b, px + a, py + b), group)
    canvas.polygon(z, "door", rectangle(x - 0.08 * w, y - 0.25 * h, x + 0.08 * w, y), group)


def draw_fence(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a piece of fence from the front."""
    w, h = scale * rng.uniform(3, 8), scale * rng.uniform(0.8, 1.4)
    canvas.polygon(z, "fence", rectangle(x - w / 2, y - h, x + w / 2, y), canvas.new_group())


def draw_animal(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a four-legged animal."""
    group = canvas.new_group()
    a = scale * rng.uniform(0.8, 1.4)
    for k in (-0.6, -0.4, 0.4, 0.6):
        leg = rectangle(x + k * a - 0.06 * a, y - 0.5 * a, x + k * a + 0.06 * a, y)
        canvas.polygon(z, "animal", leg, group)
    canvas.ellipse(z, "animal", (x, y - 0.6 * a), (0.75 * a, 0.32 * a), group)
    canvas.ellipse(z, "animal", (x + 0.8 * a, y - 0.95 * a), (0.25 * a, 0.2 * a), group)


def draw_ball(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a ball."""
    a = scale * rng.uniform(0.3, 0.9)
    canvas.ellipse(z, "ball", (x, y - a), (a, a), canvas.new_group())


def draw_box(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a box."""
    a, b = scale * rng.uniform(0.4, 1.2), scale * rng.uniform(0.5, 1.5)
    canvas.polygon(z, "box", rectangle(x - a, y - b, x + a, y), canvas.new_group())


def draw_boat(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a sailing boat."""
    group = canvas.new_group()
    a = scale * rng.uniform(1.2, 2.5)
    hull = [(x - a, y - 0.5 * a), (x + a, y - 0.5 * a), (x + 0.7 * a, y), (x - 0.7 * a, y)]
    sail = [(x, y - 0.5 * a), (x, y - 2 * a), (x + 0.8 * a, y - 0.6 * a)]
    canvas.polygon(z, "hull", hull, group)
    canvas.polygon(z, "hull", sail, group)


def draw_rock(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a rock with seven corners."""
    a = scale * rng.uniform(0.5, 1.5)
    angles = np.sort(rng.uniform(0, 2 * math.pi, 7)).tolist()
    outline = [(x + a * math.cos(t), y - 0.5 * a + 0.6 * a * math.sin(t)) for t in angles]
    canvas.polygon(z, "rock", outline, canvas.new_group())


def draw_flower(canvas: Canvas, x: float, y: float, scale: float, z: float, rng: np.random.Generator) -> None:
    """Draw a flower with five petals."""
    group = canvas.new_group()
    a = scale * rng.uniform(0.3, 0.6)
    canvas.polygon(z, "grass", rectangle(x - 0.1 * a, y - 2 * a, x + 0.1 * a, y), group)
    for k in range(5):
        t = k * 2 * math.pi / 5
        centre = (x + 0.6 * a * math.cos(t), y - 2 * a + 0.6 * a * math.sin(t))
        canvas.ellipse(z, "petal", centre, (0.4 * a, 0.4 * a), group)


# What an object scene is made of; the last six never stand in a street.
OBJECTS: tuple[Draw, ...] = (
    draw_car,
    draw_person,
    draw_tree,
    draw_sign,
    draw_house,
    draw_fence,
    draw_lamp,
    draw_animal,
    draw_ball,
    draw_box,
    draw_boat,
    draw_rock,
    draw_flower,
)
