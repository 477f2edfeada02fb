"""Fed sizes and image tokens are those of the real processors, run on pictures; frames find painted pixels again."""

from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vr1bench.families import FAMILIES
from vr1bench.families.frames import Frame
from vr1bench.types import PixelBudget

Size = tuple[int, int]
Fed = tuple[Size, int | None] | None
"""(width, height) as fed, with the image tokens; None where the image is refused."""

WITHOUT_A_CLASS = {
    "absolute": "APIs; pixels of the image as sent",
    "cogvlm": "the authors' torchvision.transforms.Resize, in remote code",
    "gemini": "API; the frame counts the original",
    "griffon": "the authors' torchvision.transforms.Resize; their CLIP processor only normalises",
    "minigpt-v2": "the authors' torchvision.transforms.Resize, outside of transformers",
    "molmo": "remote code; its rule says nothing, because the frame counts the original",
    "molmo2": "remote code; its rule says nothing, because the frame counts the original",
    "qwen-vl": "the authors' torchvision.transforms.Resize, in remote code",
    "seed": "API; the frame counts the original",
}
"""Families whose fed size no installed processor can confirm, and why."""

TOKENS_UNSAID = {"florence-2": 577, "paligemma": 1024}
"""Families whose file names no number of tokens, and what the real processor writes at the file's size."""

NO_TRANSFORMERS = "real processors need transformers: uv sync --extra hf"
NO_VLLM = "the authors' processor is only in vLLM: uv sync --extra cpu, or --extra vllm"

SIZES = [
    (1, 1), (20, 20), (27, 29), (1, 150), (1, 300), (30, 1000), (1000, 30), (640, 480), (480, 640), (400, 400),
    (700, 700), (1000, 1000), (801, 1999), (2100, 1400),
]  # fmt: skip
"""Tiny; so long that some refuse it; landscape; portrait; squares on either side of InternVL's tie; large."""


def picture(size: Size) -> Image.Image:
    return Image.new("RGB", size, (90, 120, 30))


def transformers_class(name: str) -> Any:
    return getattr(pytest.importorskip("transformers", reason=NO_TRANSFORMERS), name)


def vllm_module(name: str) -> Any:
    pytest.importorskip("transformers", reason=NO_TRANSFORMERS)
    module = f"vllm.transformers_utils.processors.{name}"
    return pytest.importorskip(module, reason=NO_VLLM, exc_type=ImportError)


@pytest.fixture(scope="session")
def with_transformers() -> None:
    """Skips in front of Hypothesis, which would print an example of the skip."""
    pytest.importorskip("transformers", reason=NO_TRANSFORMERS)


@pytest.fixture(scope="session")
def with_vllm() -> None:
    vllm_module("deepseek_vl2")


def tokenizer(extra: dict[str, str] | None = None) -> Any:
    """A tokenizer without a vocabulary: the processors add the image's tokens to it, which is all that counts here."""
    tokenizers = pytest.importorskip("tokenizers", reason=NO_TRANSFORMERS)
    special = ("<unk>", "<s>", "</s>", "<pad>")
    back = tokenizers.Tokenizer(tokenizers.models.WordLevel({t: i for i, t in enumerate(special)}))
    back.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), special, strict=True))
    return transformers_class("PreTrainedTokenizerFast")(
        tokenizer_object=back, **names, extra_special_tokens=extra or {}
    )


@cache
def smart_class(kind: str, patch: int, frames: int, pixels: PixelBudget) -> Any:
    size = {"shortest_edge": pixels.min_pixels * frames, "longest_edge": pixels.max_pixels * frames}
    return transformers_class(kind)(patch_size=patch, size=size)


def smart(image: Image.Image, pixels: PixelBudget, *, kind: str, patch: int, frames: int = 1) -> Fed:
    """Qwen's and GLM's; the latter counts the area of two equal frames."""
    processor = smart_class(kind, patch, frames, pixels)
    try:
        (_, rows, columns) = processor(images=image, return_tensors="pt")["image_grid_thw"][0].tolist()
    except ValueError as error:
        if "aspect ratio" not in str(error):
            raise
        return None
    return (columns * patch, rows * patch), rows * columns // processor.merge_size**2


def pixel_size(pixel_values: Any) -> Size:
    return pixel_values.shape[-1], pixel_values.shape[-2]


@cache
def internvl_processor() -> Any:
    names = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>", "video": "<video>"}
    size = {"height": 448, "width": 448}  # preprocessor_config.json of OpenGVLab/InternVL3-1B-hf
    return transformers_class("InternVLProcessor")(
        transformers_class("GotOcr2ImageProcessor")(size=size),
        tokenizer({f"{name}_token": token for name, token in names.items()}),
        transformers_class("InternVLVideoProcessor")(),
    )


def internvl(image: Image.Image, pixels: PixelBudget | None) -> Fed:
    """The tiles' places are not returned: the picture's red grows to the right and its green downwards."""
    processor = internvl_processor()
    ramp = (Image.linear_gradient("L").rotate(90), Image.linear_gradient("L"), Image.new("L", (256, 256)))
    got = processor(images=Image.merge("RGB", ramp).resize(image.size), text="<IMG_CONTEXT>", return_tensors="pt")
    tiles = got["pixel_values"][:-1] if len(got["pixel_values"]) > 1 else got["pixel_values"]
    edge = tiles.shape[-1]
    corners = tiles[:, :2, edge // 2, edge // 2].numpy().round(1)
    columns, rows = (len(np.unique(corners[:, axis])) for axis in (0, 1))
    assert columns * rows == len(tiles)
    return (columns * edge, rows * edge), int((got["input_ids"] == processor.image_token_id).sum())


@cache
def kosmos_processor() -> Any:
    image_processor = transformers_class("CLIPImageProcessor")(use_square_size=True)  # preprocessor_config.json
    return transformers_class("Kosmos2Processor")(image_processor, tokenizer())


def kosmos(image: Image.Image, pixels: PixelBudget | None) -> Fed:
    got = kosmos_processor()(images=image, text="<grounding> a dog", return_tensors="pt")
    return pixel_size(got["pixel_values"]), int(got["image_embeds_position_mask"].sum())


@cache
def florence_processor() -> Any:
    size = {"height": 768, "width": 768}  # preprocessor_config.json of microsoft/Florence-2-large
    image_processor = transformers_class("CLIPImageProcessor")(size=size, do_center_crop=False)
    image_processor.image_seq_length = 577
    return transformers_class("Florence2Processor")(image_processor, tokenizer({"image_token": "<image>"}))


def florence(image: Image.Image, pixels: PixelBudget | None) -> Fed:
    processor = florence_processor()
    got = processor(images=image, text="<OD>", return_tensors="pt")
    return pixel_size(got["pixel_values"]), int((got["input_ids"] == processor.image_token_id).sum())


@cache
def paligemma_processor() -> Any:
    image_processor = transformers_class("SiglipImageProcessor")(size={"height": 448, "width": 448})
    image_processor.image_seq_length = 1024  # preprocessor_config.json of google/paligemma-3b-mix-448
    return transformers_class("PaliGemmaProcessor")(image_processor, tokenizer())


def paligemma(image: Image.Image, pixels: PixelBudget | None) -> Fed:
    processor = paligemma_processor()
    got = processor(images=image, text="<image>detect dog", return_tensors="np")
    return pixel_size(got["pixel_values"]), int((got["input_ids"] == processor.image_token_id).sum())


def expanded(image: Image.Image) -> Image.Image:
    """What Expand2square of Shikra does, which the authors took from LLaVA."""
    side = max(image.size)
    square = Image.new(image.mode, (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def clip(image: Image.Image, pixels: PixelBudget | None, *, expand: bool = False, **options: Any) -> Fed:
    """OpenAI's ViT-L/14, as Ferret and Shikra call it: 14 pixels a patch, one token a patch."""
    processor = transformers_class("CLIPImageProcessor")(**options)
    values = processor(images=expanded(image) if expand else image, return_tensors="pt")["pixel_values"]
    width, height = pixel_size(values)
    return (width, height), (width // 14) * (height // 14)


CANDIDATES = [(384 * c, 384 * r) for c in range(1, 10) for r in range(1, 10) if c * r <= 9]
"""Of deepseek-ai/deepseek-vl2, processor_config.json; there in another order."""


@cache
def deepseek_processor() -> Any:
    kind = vllm_module("deepseek_vl2").DeepseekVLV2Processor
    return kind(tokenizer(), candidate_resolutions=CANDIDATES, patch_size=14, downsample_ratio=2)


def deepseek(image: Image.Image, pixels: PixelBudget | None) -> Fed:
    processor = deepseek_processor()
    got = processor(text="<image>", images=[image])
    ((columns, rows),) = got["images_spatial_crop"].tolist()
    assert len(got["pixel_values"]) == columns * rows + 1
    edge = got["pixel_values"].shape[-1]
    return (columns * edge, rows * edge), int((got["input_ids"] == processor.image_token_id).sum())


@cache
def moondream_processor() -> Any:
    return vllm_module("moondream3").Moondream3Processor(tokenizer())


def moondream(image: Image.Image, pixels: PixelBudget | None) -> Fed:
    """vLLM's copy for Moondream 3, whose tiling is Moondream 2's; neighbours share two margins of 4 patches each."""
    processor = moondream_processor()
    got = processor(images=[image])
    ((rows, columns),) = got["tilings"]
    assert len(got["pixel_values"][0]) == columns * rows + 1
    edge, shared = got["pixel_values"][0].shape[-1], 2 * 4 * 14
    width, height = (n * (edge - shared) + shared for n in (columns, rows))
    return (width, height), processor.get_num_image_tokens()


qwen = partial(smart, kind="Qwen2VLImageProcessor", patch=14)
REAL: dict[str, dict[str, Callable[..., Fed]]] = {
    "deepseek-vl2": {"DeepseekVLV2Processor": deepseek},
    "ferret": {"CLIPImageProcessor": partial(clip, size={"height": 336, "width": 336}, do_center_crop=False)},
    "florence-2": {"CLIPImageProcessor": florence},
    "glm-4v": {
        kind: partial(smart, kind=kind, patch=14, frames=2) for kind in ("Glm4vImageProcessor", "Glm46VImageProcessor")
    },
    "internvl": {"GotOcr2ImageProcessor": internvl},
    "kosmos-2": {"CLIPImageProcessor": kosmos},
    "moondream": {"Moondream3Processor": moondream},
    "paligemma": {"SiglipImageProcessor": paligemma},
    "qwen2-vl": {"Qwen2VLImageProcessor": qwen},
    "qwen2.5-vl": {"Qwen2VLImageProcessor": qwen},
    "qwen3-vl": {"Qwen2VLImageProcessor": partial(smart, kind="Qwen2VLImageProcessor", patch=16)},
    "rex-omni": {"Qwen2VLImageProcessor": qwen},
    "shikra": {"CLIPImageProcessor": partial(clip, expand=True)},
}
"""Family -> real class -> how it feeds a picture."""

OWN = {
    "glm-4v": PixelBudget(min_pixels=12544 // 2, max_pixels=9633792 // 2),  # the class counts two frames
    "qwen2-vl": PixelBudget(min_pixels=56 * 56, max_pixels=12845056),
    "qwen2.5-vl": PixelBudget(min_pixels=56 * 56, max_pixels=12845056),
    "qwen3-vl": PixelBudget(min_pixels=65536, max_pixels=16777216),
    "rex-omni": PixelBudget(min_pixels=16 * 28 * 28, max_pixels=2560 * 28 * 28),  # the authors' wrapper.py
}
"""Bounds that the checkpoints' preprocessor_config.json give to the class, whose own defaults are others."""

SMART = sorted(OWN)
PAIRS = [(name, kind) for name, kinds in REAL.items() for kind in kinds]


def fed_by(name: str, size: Size, pixels: PixelBudget | None) -> Fed:
    family = FAMILIES[name]
    try:
        fed = family.fed_size(*size, pixels)
    except ValueError as error:
        if "at most 200 times" not in str(error):
            raise
        return None
    tokens = family.image_tokens(*fed)
    return fed, TOKENS_UNSAID[name] if tokens is None and name in TOKENS_UNSAID else tokens


def test_every_family_is_compared_or_has_a_reason():
    assert not REAL.keys() & WITHOUT_A_CLASS.keys()
    assert REAL.keys() | WITHOUT_A_CLASS.keys() == set(FAMILIES.builtin)


def test_the_classes_are_those_of_transformers():
    classes = pytest.importorskip("transformers.models.auto.image_processing_auto", reason=NO_TRANSFORMERS)
    of_type = classes.IMAGE_PROCESSOR_MAPPING_NAMES
    for name in FAMILIES.builtin:
        known = {of_type[kind]["torchvision"] for kind in FAMILIES[name].model_types if kind in of_type}
        assert known <= set(REAL.get(name, {})), name


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_fed_as_by_the_real_processor(name, kind, size):
    assert fed_by(name, size, None) == REAL[name][kind](picture(size), OWN.get(name))


BUDGETS = [
    PixelBudget(min_pixels=50_000, max_pixels=100_000),
    PixelBudget(min_pixels=3_137, max_pixels=77_777),
    PixelBudget(min_pixels=400_000, max_pixels=410_000),
]


@pytest.mark.parametrize("pixels", BUDGETS, ids=lambda budget: f"{budget.min_pixels}-{budget.max_pixels}")
@pytest.mark.parametrize(("name", "kind"), [pair for pair in PAIRS if pair[0] in SMART])
def test_fed_as_by_the_real_processor_within_other_bounds(name, kind, pixels):
    for size in SIZES[::2]:
        assert fed_by(name, size, pixels) == REAL[name][kind](picture(size), pixels), size


@pytest.mark.parametrize("size", [(8000, 6000), (5000, 9001), (12_000, 900)], ids=str)
@pytest.mark.parametrize(("name", "kind"), [pair for pair in PAIRS if pair[0] in SMART])
def test_tokens_of_images_above_the_bound(name, kind, size):
    """By the class's own count: pictures of this size would take seconds."""
    options = REAL[name][kind].keywords
    processor = smart_class(kind, options["patch"], options.get("frames", 1), OWN[name])
    patches = processor.get_number_of_image_patches(height=size[1], width=size[0])
    assert fed_by(name, size, None)[1] == patches // processor.merge_size**2


@pytest.mark.parametrize("name", TOKENS_UNSAID)
def test_tokens_are_unsaid(name):
    assert FAMILIES[name].image_tokens(*FAMILIES[name].fed_size(640, 480, None)) is None


SIDE = st.integers(1, 6000)
BOUND = st.integers(1, 20_000_000)


@pytest.mark.usefixtures("with_transformers")
@pytest.mark.parametrize("name", SMART)
@given(width=SIDE, height=SIDE, bounds=st.none() | st.tuples(BOUND, BOUND))
@example(width=42, height=70, bounds=None)  # halves: rounded to even
@example(width=1, height=199, bounds=(1, 9))
def test_fed_size_is_smart_resize(name, width, height, bounds):
    pixels = PixelBudget(min_pixels=min(bounds), max_pixels=max(bounds)) if bounds else None
    family, frames = FAMILIES[name], 2 if name == "glm-4v" else 1
    folder = "glm4v" if frames == 2 else "qwen2_vl"
    real = import_module(f"transformers.models.{folder}.image_processing_{folder}").smart_resize
    low, high = (bound * frames for bound in (pixels or OWN[name]).model_dump().values())
    options = {"num_frames": frames} if frames == 2 else {}
    factor = 32 if name == "qwen3-vl" else 28
    try:
        expected = real(height=height, width=width, factor=factor, min_pixels=low, max_pixels=high, **options)
    except ValueError:
        with pytest.raises(ValueError, match="at most 200 times"):
            family.fed_size(width, height, pixels)
        return
    assert family.fed_size(width, height, pixels) == expected[::-1]


@pytest.mark.usefixtures("with_transformers")
@given(width=SIDE, height=SIDE)
def test_internvls_grid_is_the_real_one(width, height):
    real = import_module("transformers.models.got_ocr2.image_processing_got_ocr2").get_optimal_tiled_canvas
    columns, rows = real((height, width), (448, 448), 1, 12)
    assert FAMILIES["internvl"].fed_size(width, height, None) == (448 * columns, 448 * rows)


@pytest.mark.usefixtures("with_vllm")
@given(width=SIDE, height=SIDE, candidates=st.permutations(CANDIDATES))
def test_deepseeks_canvas_is_the_real_one_in_any_order(width, height, candidates):
    processor = deepseek_processor()
    before = processor.candidate_resolutions
    try:
        processor.candidate_resolutions = candidates
        expected = processor.select_best_resolution((width, height))
    finally:
        processor.candidate_resolutions = before
    assert FAMILIES["deepseek-vl2"].fed_size(width, height, None) == expected


@pytest.mark.usefixtures("with_vllm")
@given(width=SIDE, height=SIDE)
@example(width=378, height=1000)  # as wide as one tile
def test_moondreams_grid_is_the_real_one(width, height):
    rows, columns = vllm_module("moondream3").select_tiling(height - 112, width - 112, 266, 12)
    assert FAMILIES["moondream"].fed_size(width, height, None) == (266 * columns + 112, 266 * rows + 112)


def test_florences_tokens_are_those_of_its_model():
    """577, which its processors are told and do not count: the real vision tower, without weights."""
    torch = pytest.importorskip("torch", reason=NO_TRANSFORMERS)
    real = pytest.importorskip("transformers.models.florence2.modeling_florence2", reason=NO_TRANSFORMERS)
    config = transformers_class("Florence2Config")()
    width, height = FAMILIES["florence-2"].fed_size(640, 480, None)
    with torch.device("meta"):
        features = real.Florence2VisionBackbone(config.vision_config)(torch.zeros(1, 3, height, width))
        tokens = real.Florence2MultiModalProjector(config)(getattr(features, "last_hidden_state", features))
    assert tokens.shape[1] == TOKENS_UNSAID["florence-2"]


SHARE = st.floats(0, 1)


@pytest.mark.parametrize("name", sorted(FAMILIES.builtin))
@given(width=st.integers(30, 3000), height=st.integers(30, 3000), corners=st.tuples(SHARE, SHARE, SHARE, SHARE))
def test_numbers_lead_back_to_the_box(name, width, height, corners):
    size, family = (width, height), FAMILIES[name]
    fed = family.fed_size(width, height, None)
    at = family.frame.placing(size, fed)
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    box = np.array([[x1 * width, y1 * height, x2 * width, y2 * height]])
    numbers = family.frame.numbers(box, size, fed)
    found, defects, clipped = at.boxes([tuple(row) for row in numbers.tolist()])
    assert (defects, clipped) == ({}, 0)
    step = np.array([at.scale_x, at.scale_y, at.scale_x, at.scale_y]) * at.step
    assert (np.abs(np.array(found) - box[0]) <= step + 1e-9).all()


def painted(size: Size, box: tuple[int, int, int, int]) -> Image.Image:
    """A grey picture with a black rectangle; `box` ends behind its last pixel."""
    image = Image.new("L", size, 128)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=0)
    return image


def black(image: Image.Image) -> np.ndarray:
    """Where the rectangle is, from its pixels."""
    return np.array(image.point(lambda value: 255 * (value == 0)).getbbox(), dtype=float)


def cornered(image: Image.Image) -> Image.Image:
    square = Image.new(image.mode, (max(image.size),) * 2, "white")
    square.paste(image, (0, 0))
    return square


RECTANGLES = [
    ((640, 480), (100, 40, 300, 480)), ((480, 641), (0, 0, 480, 641)), ((333, 1000), (5, 901, 6, 1000)),
    ((1000, 334), (999, 0, 1000, 1)), ((40, 31), (3, 4, 33, 27)), ((300, 300), (10, 20, 30, 40)),
]  # fmt: skip


@pytest.mark.parametrize(("size", "box"), RECTANGLES)
@pytest.mark.parametrize("pad", ["center", "corner"])
def test_the_square_frame_finds_the_painted_pixels(pad, size, box):
    """Shikra's, and the same padded behind the image: the numbers come from the padded picture itself."""
    shikra = FAMILIES["shikra"].frame
    frame = shikra if pad == "center" else Frame(of="square", pad="corner", extent=1, decimals=3, highest=1)
    pad_to_square = {"center": expanded, "corner": cornered}[pad]
    fed = FAMILIES["shikra"].fed_size(*size, None)
    seen = black(pad_to_square(painted(size, box))) / max(size)
    found, defects, clipped = frame.placing(size, fed).boxes([tuple(seen.tolist())])
    assert (defects, clipped) == ({}, 0)
    assert found == pytest.approx(box)
    assert frame.numbers(np.array([box], dtype=float), size, fed)[0] == pytest.approx(seen, abs=0.0005 + 1e-9)


@pytest.mark.parametrize("pixels", [None, BUDGETS[0], BUDGETS[2]], ids=["own", "down", "up"])
@pytest.mark.parametrize(("size", "box"), [((640, 480), (100, 40, 300, 480)), ((333, 1000), (5, 901, 48, 1000))])
def test_the_fed_frame_finds_the_painted_pixels(size, box, pixels):
    """Qwen2.5-VL's: the numbers come from the resized picture, to one of its pixels or of the original's."""
    family = FAMILIES["qwen2.5-vl"]
    fed = family.fed_size(*size, pixels)
    seen = black(painted(size, box).resize(fed, Image.Resampling.NEAREST))
    found, defects, clipped = family.frame.placing(size, fed).boxes([tuple(seen.tolist())])
    assert (defects, clipped) == ({}, 0)
    pixel = max(1, size[0] / fed[0], size[1] / fed[1])
    assert np.abs(np.array(found) - box).max() <= pixel + 1e-9
    written = family.frame.numbers(np.array([box], dtype=float), size, fed)[0]
    assert np.abs(written - seen).max() <= max(1, fed[0] / size[0], fed[1] / size[1]) + 1e-9
