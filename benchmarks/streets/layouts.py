"""Where things stand: the street seen by a pinhole camera, and the scene of a few large objects.

Both return a `Scene` (numbers, not colours); the styles paint it.
"""

import math
from dataclasses import dataclass

import numpy as np

from .canvas import HEIGHT_PX, WIDTH_PX, Canvas, Point, Scene, rectangle
from .objects import (
    OBJECTS,
    draw_bush,
    draw_car,
    draw_person,
    draw_post,
    draw_sign,
    draw_tree,
)

Range = tuple[float, float]
_GROUND = (184.0, 190.5)  # painting depths of the ground planes, which get their true depth by row
_FAR_M, _NEAR_M = 120.0, 0.6


@dataclass(frozen=True)
class Camera:
    """The ranges from which a street's camera and site are drawn."""

    focal: Range = (1.0, 1.15)  # in canvas heights
    horizon: Range = (0.42, 0.48)  # in canvas heights from the top
    centre: Range = (0.44, 0.56)  # in canvas widths
    height_m: Range = (1.4, 1.6)
    road_m: Range = (3.2, 4.5)  # half width of the road, each side by itself
    density: float = 1.0  # of posts and trees along the road
    roofs: float = 0.15  # share of façades with a visible roof
    buildings: float = 0.75  # share of plots with a building


@dataclass(frozen=True)
class _View:
    """One drawn camera."""

    focal: float
    x: float
    y: float
    height_m: float

    def project(self, right: float, up: float, ahead: float) -> Point:
        return self.x + self.focal * right / ahead, self.y + self.focal * (self.height_m - up) / ahead


@dataclass(frozen=True)
class _Side:
    """One side of the street: its sign (-1 left, 1 right), road half width and pavement width."""

    sign: int
    road_m: float
    pavement_m: float


def street(rng: np.random.Generator, camera: Camera) -> Scene:
    """Lay out a street."""
    canvas = Canvas()
    view = _View(
        focal=rng.uniform(*camera.focal) * HEIGHT_PX,
        y=rng.uniform(*camera.horizon) * HEIGHT_PX,
        x=rng.uniform(*camera.centre) * WIDTH_PX,
        height_m=rng.uniform(*camera.height_m),
    )
    widths = rng.uniform(*camera.road_m, 2).tolist()
    pavements = rng.uniform(1.2, 3.0, 2).tolist()
    sides = [_Side(sign, width, pavement) for sign, width, pavement in zip((-1, 1), widths, pavements, strict=True)]
    _background(canvas, view, rng)
    _ground(canvas, view, sides, rng)
    canvas.paint()  # the ground lies below everything else, whatever its painting depth
    for side in sides:
        _plots(canvas, view, side, camera, rng)
        _roadside(canvas, view, side, camera, rng)
        _traffic(canvas, view, side, rng)
    if rng.random() < 0.3:
        z = rng.uniform(5, 15)
        x, y = view.project(rng.uniform(-widths[0], widths[1]), 0, z)
        draw_person(canvas, x, y, view.focal / z, z, rng)
    rows = np.arange(HEIGHT_PX, dtype=np.float32)
    ground_m = np.clip(view.focal * view.height_m / np.maximum(rows - view.y, 0.5), 0.5, 200).astype(np.float32)
    return canvas.scene(_GROUND, ground_m)


def _background(canvas: Canvas, view: _View, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(0, 4)):
        centre = (rng.uniform(0, WIDTH_PX), rng.uniform(0, view.y))
        axes = (rng.uniform(10, 45), rng.uniform(3, 12))
        canvas.ellipse(199, "cloud", centre, axes, canvas.new_group())
    if rng.random() < 0.35:
        xs = np.linspace(0, WIDTH_PX, 7).tolist()
        ridge = [(x, view.y - rng.uniform(0, 0.22) * HEIGHT_PX) for x in xs]
        outline = [(0, view.y + 2), *ridge, (WIDTH_PX, view.y + 2)]
        canvas.polygon(198, "mountain", outline, canvas.new_group())


def _ground(canvas: Canvas, view: _View, sides: list[_Side], rng: np.random.Generator) -> None:
    def strip(a: float, b: float, near: float = _NEAR_M, far: float = _FAR_M) -> list[Point]:
        corners = ((a, far), (b, far), (b, near), (a, near))
        return [view.project(x, 0, z) for x, z in corners]

    terrain = "grass" if rng.random() < 0.65 else "soil"
    plane = rectangle(0, view.y, WIDTH_PX, HEIGHT_PX)
    canvas.polygon(190, terrain, plane, canvas.new_group())
    left, right = sides[0].road_m, sides[1].road_m
    canvas.polygon(189, "road", strip(-left, right), canvas.new_group())
    pavement = canvas.new_group()
    for side in sides:
        if rng.random() < 0.88:
            edge, outer = side.sign * side.road_m, side.sign * (side.road_m + side.pavement_m)
            canvas.polygon(188, "sidewalk", strip(edge, outer), pavement)
            curb = side.sign * (side.road_m + 0.18)
            canvas.polygon(187, "curb", strip(edge, curb), pavement)
    marking = canvas.new_group()
    for z in np.arange(1.5, 40, rng.uniform(3, 5)).tolist():
        canvas.polygon(186, "lane", strip(-0.08, 0.08, z, z + 1.6), marking)
    if rng.random() < 0.25:
        z = rng.uniform(6, 14)
        for x in np.arange(-left + 0.3, right - 0.3, 0.9).tolist():
            canvas.polygon(185, "lane", strip(x, x + 0.45, z, z + 2), marking)


def _plots(canvas: Canvas, view: _View, side: _Side, camera: Camera, rng: np.random.Generator) -> None:
    """Line one side with buildings, trees and fences, plot after plot into the distance."""
    front = side.road_m + side.pavement_m + rng.uniform(0.3, 2.5)
    z = rng.uniform(3, 7)
    while z < 80:
        end = z + rng.uniform(5, 14)
        if rng.random() < camera.buildings:
            _building(canvas, view, side.sign * front, (z, end), camera.roofs, rng)
        elif rng.random() < 0.6:
            for _ in range(2):
                at = rng.uniform(z, end)
                x, y = view.project(side.sign * (front + rng.uniform(0, 2)), 0, at)
                draw_tree(canvas, x, y, view.focal / at, at, rng)
        if rng.random() < 0.28:
            group, h = canvas.new_group(), rng.uniform(0.8, 1.4)
            x = side.sign * (side.road_m + side.pavement_m + 0.1)
            middle = (z + end) / 2
            for a, b in ((z, middle), (middle, end)):
                canvas.polygon(a, "fence", _facade(view, x, (a, b), (0, h)), group)
        z = end + rng.uniform(0, 2)


def _facade(view: _View, x: float, along: Range, up: Range) -> list[Point]:
    """Return a rectangle in the plane parallel to the road at `x`."""
    (a, b), (bottom, top) = along, up
    corners = ((bottom, a), (bottom, b), (top, b), (top, a))
    return [view.project(x, y, z) for y, z in corners]


def _building(
    canvas: Canvas,
    view: _View,
    x: float,
    along: Range,
    roofs: float,
    rng: np.random.Generator,
) -> None:
    z, end = along
    length = end - z
    group = canvas.new_group()
    h, deep = rng.uniform(4, 15), math.copysign(rng.uniform(4, 9), x)
    gable = ((x, 0.0), (x + deep, 0.0), (x + deep, h), (x, h))
    canvas.polygon(z + 0.4, "wall", [view.project(px, py, z) for px, py in gable], group)
    # In three pieces, so that what stands in front of the building covers it, by depth order.
    for k in range(3):
        a, b = z + k * length / 3, z + (k + 1) * length / 3
        canvas.polygon((a + b) / 2, "wall", _facade(view, x, (a, b), (0, h)), group)
    if rng.random() < roofs:
        ridge = view.project(x + deep / 2, h + 2.5, (z + end) / 2)
        eaves = [view.project(x, h, z), view.project(x, h, end)]
        canvas.polygon(z + 0.3, "roof", [*eaves, ridge], group)
    floors, bays = max(int(h / 2.8), 1), max(int(length / 2.5), 2)
    for i in range(bays):
        a, b = z + (i + 0.25) * length / bays, z + (i + 0.75) * length / bays
        for j in range(floors):
            if j == 0 and rng.random() < 0.3:
                canvas.polygon(a - 0.1, "door", _facade(view, x, (a, b), (0, 2.1)), group)
            else:
                up = (j * 2.8 + 0.9, j * 2.8 + 2.3)
                depth = min((a + b) / 2 - 0.1, a)
                canvas.polygon(depth, "window", _facade(view, x, (a, b), up), group)


def _roadside(canvas: Canvas, view: _View, side: _Side, camera: Camera, rng: np.random.Generator) -> None:
    """Put posts, trees and bushes along the kerb, and people on the pavement."""
    z = rng.uniform(5, 10)
    while z < 45:
        x, y = view.project(side.sign * (side.road_m + rng.uniform(0.3, 0.7)), 0, z)
        choice = rng.random()
        if choice < 0.62:
            draw_post(canvas, x, y, view.focal / z, z, rng)
        elif choice < 0.85:
            draw_tree(canvas, x, y, 0.8 * view.focal / z, z, rng)
        else:
            draw_bush(canvas, x, y, view.focal / z, z, rng)
        z += rng.uniform(5, 12) / camera.density
    for _ in range(rng.integers(0, 4)):
        z = rng.uniform(4, 22)
        offset = side.road_m + rng.uniform(0.2, side.pavement_m)
        x, y = view.project(side.sign * offset, 0, z)
        draw_person(canvas, x, y, view.focal / z, z, rng)


def _traffic(canvas: Canvas, view: _View, side: _Side, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(0, 4)):
        z = rng.uniform(5, 35)
        if rng.random() < 0.6:  # parked
            offset = side.road_m - rng.uniform(0.9, 1.4)
        else:
            offset = rng.uniform(0.9, side.road_m - 0.8)
        x, y = view.project(side.sign * offset, 0, z)
        draw_car(canvas, x, y, view.focal / z, z, rng)


def objects(rng: np.random.Generator) -> Scene:
    """Lay out two to six large objects before a random backdrop, with nothing of a street."""
    canvas = Canvas()
    horizon = rng.uniform(0.25, 0.75) * HEIGHT_PX
    if rng.random() < 0.5:
        centre = (rng.uniform(0, WIDTH_PX), rng.uniform(0, horizon))
        axes = (rng.uniform(10, 45), rng.uniform(3, 12))
        canvas.ellipse(199, "cloud", centre, axes, canvas.new_group())
    floors = ("grass", "soil", "road", "sidewalk", "water", "floor", "wall")
    plane = rectangle(0, horizon, WIDTH_PX, HEIGHT_PX)
    canvas.polygon(190, floors[rng.integers(7)], plane, canvas.new_group())
    if rng.random() < 0.3:
        backdrop = ("wall", "fence", "foliage", "mountain")[rng.integers(4)]
        strip = rectangle(0, rng.uniform(0, horizon), WIDTH_PX, horizon + 1)
        canvas.polygon(190.5, backdrop, strip, canvas.new_group())
    for count in range(rng.integers(2, 7)):
        draw = OBJECTS[rng.integers(len(OBJECTS))]
        scale = math.exp(rng.uniform(math.log(5), math.log(32)))
        x, y = rng.uniform(0, WIDTH_PX), rng.uniform(horizon, HEIGHT_PX)
        nearness = (y - horizon) / (HEIGHT_PX - horizon + 1)
        if draw is draw_sign:
            y -= rng.uniform(0, 0.5) * HEIGHT_PX
        draw(canvas, x, y, scale, 130 * (1 - 0.9 * nearness) - 0.01 * count, rng)
    return canvas.scene()
