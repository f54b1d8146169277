"""The rules of series, on data made for each: brackets, clocks, names; and likeness."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photorank.photos.brackets import find_brackets
from photorank.photos.grouping import EXTENT, GAP, Grouping, by_name, by_time
from photorank.photos.likeness import DIM, describe, likeness
from photorank.photos.metadata import Exposure, exposure
from photorank.photos.pairs import Shot
from tests.conftest import make_picture

NOTHING = Exposure()


def picture_vectors(scenes: list[int]) -> np.ndarray:
    made = {scene: describe(np.asarray(make_picture(scene))) for scene in set(scenes)}
    return np.stack([made[scene] for scene in scenes])


def shots(times: list[str | None], scenes: list[int], **about: object) -> tuple[list[Shot], np.ndarray]:
    made = [Shot(f"/p/IMG_{at}.jpg", bytes([at // 256, at % 256]), time, **about) for at, time in enumerate(times)]  # type: ignore[arg-type]
    return made, picture_vectors(scenes)


def parts(found: Grouping) -> list[int]:
    """The series numbered by first appearance."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in found.series]


def test_time_and_likeness_both_have_to_say_yes() -> None:
    times = [f"2024-01-01T12:00:{second:02d}" for second in (0, 8, 12, 14)] + ["2024-01-01T12:01:00"]
    assert parts(by_time(*shots(times, [1, 1, 2, 2, 2]))) == [0, 0, 1, 1, 2]
    assert parts(by_time(*shots(times, [1, 1, 2, 2, 2]), gap=60)) == [0, 0, 1, 1, 1]
    assert parts(by_time(*shots(times, [1, 1, 2, 2, 2]), gap=7)) == [0, 1, 2, 2, 3]


def test_a_scene_that_comes_back_within_the_gap_is_the_same_series() -> None:
    times = [f"2024-01-01T12:00:{second:02d}" for second in range(0, 36, 6)]
    assert parts(by_time(*shots(times, [1, 1, 2, 2, 1, 1]))) == [0, 0, 1, 1, 0, 0]
    assert parts(by_time(*shots(times, [1, 1, 2, 2, 1, 1]), gap=17)) == [0, 0, 1, 1, 2, 2]
    assert parts(by_time(*shots(times, [1, 2, 3, 1, 2, 3]))) == [0, 1, 2, 0, 1, 2]
    apart = [f"2024-01-01T12:{minute:02d}:00" for minute in range(6)]
    assert parts(by_time(*shots(apart, [1, 2] * 3))) == [0, 1, 2, 3, 4, 5]


def test_two_bodies_of_one_model_take_their_frames_at_the_same_time() -> None:
    """As two phones do, which have no serial number: 0.3 s apart, and neither is a burst of both motifs."""
    names = [(f"/p/{who}/IMG_{at:04d}.jpg", f"2024-01-01T12:00:{at:02d}.{part}") for at in range(3) for who, part in
             (("ann", 1), ("bob", 4))]  # fmt: skip
    made = [Shot(path, path.encode(), time, "phone") for path, time in names]
    assert parts(by_time(made, picture_vectors([1, 2] * 3))) == [0, 1] * 3
    body = [Shot(s.path, s.key, s.taken_at, s.camera, Exposure(serial="7")) for s in made]
    assert parts(by_time(body[:2], picture_vectors([1, 2]))) == [0, 0]


def test_fractions_of_zero_are_no_fractions() -> None:
    times = ["2024-01-01T12:00:00.00"] * 4
    assert parts(by_time(*shots(times, [1, 1, 2, 2]))) == [0, 0, 1, 1]
    assert parts(by_time(*shots([f"{time[:-2]}25" for time in times], [1, 1, 2, 2]))) == [0, 0, 0, 0]


def test_a_burst_goes_on_though_its_motif_leaves_the_picture() -> None:
    times = [f"2024-01-01T12:00:00.{part}" for part in range(1, 7)]
    assert parts(by_time(*shots(times, [1, 1, 1, 2, 2, 2]))) == [0] * 6
    assert parts(by_time(*shots([time[:19] for time in times], [1, 1, 1, 2, 2, 2]))) == [0, 0, 0, 1, 1, 1]


def test_times_are_compared_in_utc_and_those_without_offset_by_their_neighbours() -> None:
    times = [
        "2024-01-01T12:00:00+01:00",
        "2024-01-01T11:00:05+00:00",
        "2024-01-01T11:00:09",
        "2024-01-01T11:00:12Z"[:19],
    ]
    assert parts(by_time(*shots([*times], [1, 1, 1, 1]))) == [0, 0, 0, 0]
    assert parts(by_time(*shots([time[:19] for time in times], [1, 1, 1, 1]))) == [0, 1, 1, 1]


def test_each_camera_and_each_body_has_a_timeline_of_its_own() -> None:
    times = [f"2024-01-01T12:00:{second:02d}" for second in range(4)]
    made, vectors = shots(times, [1, 1, 1, 1])
    cameras = [Shot(s.path, s.key, s.taken_at, f"camera {at % 2}") for at, s in enumerate(made)]
    assert parts(by_time(cameras, vectors)) == [0, 1, 0, 1]
    bodies = [Shot(s.path, s.key, s.taken_at, "c", Exposure(serial=str(at % 2))) for at, s in enumerate(made)]
    assert parts(by_time(bodies, vectors)) == [0, 1, 0, 1]


def test_frames_that_follow_one_another_for_ever_are_cut_where_the_wait_is_longest() -> None:
    waits = [9.0] * 20 + [12.0] + [9.0] * 20
    seconds = np.cumsum([0.0, *waits])
    times = [f"2024-01-01T12:{int(s) // 60:02d}:{int(s) % 60:02d}" for s in seconds]
    found = parts(by_time(*shots(times, [1] * len(times))))
    assert found == [0] * 21 + [1] * 21
    many = [f"2024-01-01T{12 + at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}" for at in range(0, 6000, 3)]
    made = [Shot(f"/p/{at}.jpg", at.to_bytes(2, "big"), time) for at, time in enumerate(many)]
    counts = np.bincount(parts(by_time(made, np.repeat(picture_vectors([1]), 2000, 0))))
    assert counts.max() * 3 <= EXTENT * GAP + 3


def test_frames_of_one_time_do_not_chain() -> None:
    """Each is like the next, and after a while like nothing that was at first."""
    a, b = (np.asarray(make_picture(seed), np.float32) for seed in (1, 2))
    mixed = [describe((a * (1 - share) + b * share).astype(np.uint8)) for share in np.linspace(0, 1, 12)]
    steps = likeness(np.stack(mixed), np.arange(11), np.arange(1, 12))
    assert steps.min() > 0.9
    for time in ("2024-01-01T12:00:00", None):
        found = parts(by_time(*shots([time] * 12, [1] * 12)[:1], np.stack(mixed)))
        assert len(set(found)) > 1
        assert found == sorted(found)
    alone = [f"2024-01-01T12:00:{second:02d}" for second in range(12)]
    assert len(set(parts(by_time(*shots(alone, [1] * 12)[:1], np.stack(mixed))))) == 1


def test_a_raw_finds_its_picture_in_another_folder() -> None:
    """Cameras write to two cards, and people sort by kind."""
    time, later = "2024-01-01T12:00:00", "2024-01-01T12:00:01"
    made = [Shot("/RAW/IMG_1.CR2", b"r", time, "c"), Shot("/JPG/IMG_1.JPG", b"j", time, "c")]
    scene = picture_vectors([1] * 4)
    assert by_time(made, scene).original == [1, 1]
    copy = Shot("/z/IMG_1.JPG", b"j", time, "c")
    assert by_time([*made, copy], scene).original == [1, 1, 1]
    for other in (
        Shot("/edits/IMG_1.JPG", b"k", time, "c"),  # which of the two?
        Shot("/JPG/IMG_1.JPG", b"j", later, "c"), Shot("/JPG/IMG_1.JPG", b"j", time, "d"),
        Shot("/JPG/IMG_2.JPG", b"j", time, "c"), Shot("/JPG/IMG_1.JPG", b"j", None, "c"),
    ):  # fmt: skip
        shots = [*made, other] if other.path.startswith("/edits") else [made[0], other]
        assert by_time(shots, scene).original == list(range(len(shots)))
    assert by_name(made, ["/RAW", "/JPG"], [None, None]).original == [0, 1]
    unknown = [Shot(shot.path, shot.key) for shot in made]
    assert by_time(unknown, scene).original == [0, 1]


@pytest.mark.parametrize("backup", ["/backup", "/z"])
def test_a_copy_of_a_raw_stands_with_the_jpeg_whichever_folder_comes_first(backup: str) -> None:
    time = "2024-01-01T12:00:00"
    named = [(f"{backup}/IMG.CR2", b"r"), ("/trip/IMG.CR2", b"r"), ("/trip/IMG.JPG", b"j")]
    made = [Shot(path, key, time) for path, key in named]
    found = by_time(made, picture_vectors([1, 1, 1]))
    assert found.original == [2, 2, 2]
    # But a RAW whose own JPEG was made anew stays with that.
    made += [Shot("/edited/IMG.CR2", b"r", time), Shot("/edited/IMG.JPG", b"k", time)]
    found = by_time(made, picture_vectors([1] * 5))
    assert (found.original[1], found.original[3:]) == (2, [4, 4])


def test_without_a_time_names_that_follow_one_another_are_a_series() -> None:
    names = ["IMG_0008", "IMG_0009", "IMG_0010", "IMG_0014", "DSC_0015", "sharp", "soft", "b/IMG_0011"]
    made = [Shot(f"/p/{name}.jpg", name.encode()) for name in names]
    assert parts(by_time(made, picture_vectors([1] * 8))) == [0, 0, 0, 1, 2, 3, 3, 4]
    assert parts(by_time(made, picture_vectors([1, 1, 2, 2, 1, 1, 2, 1]))) == [0, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "name",
    [
        "PXL_20240501_1001{:02d}123",
        "signal-2024-05-01-10-01-{:02d}-123",
        "2024-05-01 10.01.{:02d}",
        "202405011001{:02d}",
        "IMG_20240501_1001{:02d}~2",
    ],
)
def test_without_a_time_the_one_in_the_name_counts(name: str) -> None:
    made = [Shot(f"/p/{name.format(second)}.jpg", bytes([second])) for second in (0, 6, 12, 50)]
    assert parts(by_time(made, picture_vectors([1, 1, 2, 2]))) == [0, 0, 1, 2]
    assert parts(by_time(made, picture_vectors([1] * 4))) == [0, 0, 0, 1]
    no_time = [Shot(f"/p/IMG_202402310000{at:02d}.jpg", bytes([at])) for at in (1, 2, 9)]
    assert parts(by_time(no_time, picture_vectors([1] * 3))) == [0, 0, 1]


def bracket_of(names: list[str], waits: float | None, **about: object) -> list[bool]:
    """Which photos are in a bracket: of each name three, exposed at -2, 0 and +2."""
    made = []
    for at, bias in enumerate((0.0, -2.0, 2.0)):
        time = None if waits is None else f"2024-01-01T12:00:{int(at * waits):02d}"
        exposed = Exposure(bias, **about)  # type: ignore[arg-type]
        made += [Shot(name.format(at + 1), name.encode() + bytes([at]), time, "c", exposed) for name in names]
    found = by_time(made, picture_vectors([1] * len(made)))
    assert len(set(found.series)) == (1 if any(found.bracket) or waits is None or waits <= GAP else len(made))
    return [name is not None for name in found.bracket]


def test_a_bracket_stays_one_beside_exports_and_edits_of_itself() -> None:
    for more in ("/p/web/IMG_{}.jpg", "/p/IMG_{}-edit.jpg", "/p/IMG_{}.png"):
        for wait in (0, 1):
            assert bracket_of(["/p/IMG_{}.jpg", more], wait) == [True] * 6
    # Frames of a burst are no edits of each other.
    assert bracket_of(["/p/IMG_{}.jpg", "/p/IMG_{}0.jpg"], 1) == [False] * 6


def test_where_a_camera_says_that_it_brackets_frames_may_come_as_slowly_as_in_a_series() -> None:
    assert bracket_of(["/p/IMG_{}.jpg"], 4, bracketed=True) == [True] * 3
    assert bracket_of(["/p/IMG_{}.jpg"], 4) == [False] * 3
    assert bracket_of(["/p/IMG_{}.jpg"], 25, bracketed=True) == [False] * 3


def test_without_a_time_a_bracket_is_of_names_that_follow_one_another() -> None:
    assert bracket_of(["/p/IMG_{}.jpg"], None) == [True] * 3
    assert bracket_of(["/p/IMG_{}.jpg"], None, bracketed=True) == [True] * 3
    far = [Shot(f"/p/IMG_{7 * at}.jpg", bytes([at]), None, None, Exposure(2.0 * at - 2)) for at in range(3)]
    assert not any(by_time(far, picture_vectors([1] * 3)).bracket)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 3), st.sampled_from([None, -2.0, 0.0, 2.0])), max_size=14),
    st.randoms(use_true_random=False),
)
def test_the_order_in_which_photos_are_given_changes_nothing(
    photos: list[tuple[int, int, float | None]], random
) -> None:  # type: ignore[no-untyped-def]
    made = [
        Shot(
            f"/p/{at}.jpg", bytes([at]), f"2024-01-01T12:{s // 60:02d}:{s % 60:02d}" if s else None, "c", Exposure(bias)
        )
        for at, (s, _, bias) in enumerate(photos)
    ]
    vectors = picture_vectors([scene for _, scene, _ in photos]) if photos else np.empty((0, DIM))
    found = by_time(made, vectors)
    order = list(range(len(made)))
    random.shuffle(order)
    again = by_time([made[at] for at in order], vectors[order])
    assert [again.series[order.index(at)] for at in range(len(made))] == found.series
    assert [again.bracket[order.index(at)] for at in range(len(made))] == found.bracket
    assert [order[again.original[order.index(at)]] for at in range(len(made))] == found.original


def brackets_of(
    biases: list[float | None], told: Callable[[float | None], Exposure], wait: float = 0.5
) -> list[list[int]]:
    found = find_brackets([wait * at for at in range(len(biases))], [told(bias) for bias in biases])
    return [list(range(part.start, part.stop)) for part in found]


@pytest.mark.parametrize(
    "told",
    [lambda stops: Exposure(bias=stops), lambda stops: Exposure(light=stops), lambda stops: Exposure(0.0, light=stops)],
    ids=["bias", "light", "light, bias all 0"],
)
def test_brackets_are_evenly_spaced_different_and_quick(told: Callable[[float | None], Exposure]) -> None:
    assert brackets_of([-2, 0, 2], told) == [[0, 1, 2]]
    assert brackets_of([0, -1, 1, 0, -1, 1], told) == [[0, 1, 2], [3, 4, 5]]
    assert brackets_of([0, 0, -2, 0, 2, 0], told) == [[2, 3, 4]]
    assert brackets_of([-4, -2, 0, 2, 4], told) == [[0, 1, 2, 3, 4]]
    assert brackets_of([0, -2, 2, -4, 4], told) == [[0, 1, 2, 3, 4]]
    assert brackets_of([-2, 0, 3], told) == []
    assert brackets_of([0, 0, 0], told) == []
    assert brackets_of([-2, 0], told) == []
    assert brackets_of([-2, 0, 2], told, wait=4) == []


def test_a_camera_that_says_that_it_brackets_is_believed() -> None:
    said = [Exposure(bias, bracketed=True) for bias in (-1.0, 1.0)]
    assert find_brackets([0, 1, 2], [*said, Exposure(3.0, bracketed=False)]) == [slice(0, 2)]
    assert find_brackets([0, 1, 2], [Exposure(-1.0), *said]) == [slice(1, 3)]


def test_small_steps_are_a_camera_exposing_by_itself() -> None:
    assert brackets_of([0, 0.33, 0.67], lambda stops: Exposure(light=stops)) == []
    assert brackets_of([-0.33, 0, 0.33], lambda stops: Exposure(bias=stops)) == [[0, 1, 2]]


def test_long_exposures_take_their_time() -> None:
    night = [Exposure(bias, seconds=seconds) for bias, seconds in ((-2.0, 2.0), (0.0, 8.0), (2.0, 30.0))]
    assert find_brackets([0, 3, 12], night) == [slice(0, 3)]
    assert find_brackets([0, 3, 15], night) == []
    assert find_brackets([0, None, 12], night) == []


@given(st.binary(max_size=300))
def test_exposure_of_any_bytes_is_read_or_nothing(data: bytes) -> None:
    for exif in (data, b"II*\0\x08\0\0\0" + data, b"MM\0*\0\0\0\x08" + data):
        found = exposure(exif)
        assert found.light is None or np.isfinite(found.light)
        assert found.bias is None or abs(found.bias) <= 20


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
def test_likeness_is_symmetric_and_highest_to_itself(height: int, width: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rgb = generator.integers(0, 256, (height, width, 3), np.uint8)
    vectors = np.stack([describe(rgb), describe(np.asarray(make_picture(seed)))])
    assert vectors.shape == (2, DIM)
    assert np.isfinite(vectors).all()
    one, other, back = likeness(vectors, np.array([1, 0, 1]), np.array([1, 1, 0]))
    assert one > 0.97
    assert abs(other - back) < 1e-6
    assert other <= one + 1e-6
