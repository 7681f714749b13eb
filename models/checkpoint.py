"""Weights on disk: safetensors files that say what they are, and nothing that executes code.

The header's metadata holds ``format``, ``architecture``, ``input_spec`` (JSON) and ``card``
(JSON: training data, metrics, limits). A committee has a format of its own, ``members``, their
number, and tensors named ``members.0.…``, ``members.1.…``: versions that know single finders alone
refuse it instead of misreading it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from equilens.models.committee import MOST_MEMBERS, Committee
from equilens.models.errors import ArchitectureError, CheckpointError, UnsafeWeightsError
from equilens.models.inputs import InputSpec
from equilens.models.networks import LensFinder, build_finder

FORMAT = "equilens-finder-1"
COMMITTEE_FORMAT = "equilens-committee-1"
LARGEST_BYTES = 2 * 1024**3
LARGEST_SIDE_PX = 4097
PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin")
TRAINED_WEIGHTS = "model.safetensors"  # in the folder of a training
WEIGHTS_FOLDER = Path(__file__).parent / "weights"


def save_checkpoint(path: str | os.PathLike, finder: LensFinder | Committee, card: dict) -> Path:
    """Write a finder's weights, architecture, input specification and card, atomically.

    Parameters
    ----------
    path : path ending in .safetensors
    finder : LensFinder or Committee
    card : dict
        Anything JSON can hold.

    Raises
    ------
    CheckpointError
        Where the suffix is another one, or the weights are too large to be loaded again.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"a checkpoint's name must end in .safetensors, got {path.name!r}")
    metadata = {
        "format": FORMAT,
        "architecture": finder.architecture.name,
        "input_spec": json.dumps(finder.spec.to_dict()),
        "card": json.dumps(card),
    }
    if isinstance(finder, Committee):
        metadata |= {"format": COMMITTEE_FORMAT, "members": str(len(finder.members))}
    size = sum(value.nbytes for value in finder.state_dict().values())
    if size > LARGEST_BYTES:
        raise CheckpointError(
            f"{path} would have {size} bytes; weights may have {LARGEST_BYTES} at most: keep fewer "
            "members, or smaller ones"
        )
    state = {name: value.detach().cpu().contiguous() for name, value in finder.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        safetensors.torch.save_file(state, temporary, metadata)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # safetensors writes files for their owner alone; weights are there to be shared
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_checkpoint(path: str | os.PathLike) -> tuple[LensFinder | Committee, dict]:
    """Return the finder or the committee, in evaluation mode, and its metadata.

    Metadata holds ``format``, ``architecture``, ``input_spec`` (dict), ``card`` (dict), ``members``
    (int) and ``sha256``.

    Raises
    ------
    UnsafeWeightsError
        For pickles and zip archives, whatever their suffix.
    CheckpointError
        For a missing, oversized, damaged or foreign file, or weights of another architecture.
    """
    path = Path(path)
    refuse_unsafe(path)
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            metadata = _parse_metadata(path, stored.metadata())
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    finder = _rebuild(path, metadata)
    load_checked_state(path, finder, state, repr(finder.architecture.name))
    return finder.eval(), metadata | {"sha256": model_sha256(path)}


def model_sha256(path: str | os.PathLike) -> str:
    """Return the hexadecimal sha256 of a weights file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shipped_weights() -> dict[str, Path]:
    """Return the weights that come with equilens, by the name of their survey."""
    return {path.stem: path for path in sorted(WEIGHTS_FOLDER.glob("*.safetensors"))}


def refuse_unsafe(path: Path) -> None:
    """Raise where a file is missing, too large, or a pickle by suffix or by its first bytes."""
    if not path.is_file():
        raise CheckpointError(f"no weights file at {path}")
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise CheckpointError(f"{path} has {size} bytes; weights may have {LARGEST_BYTES} at most")
    with path.open("rb") as stream:
        first = stream.read(2)
    by_magic = first == b"PK" or (len(first) == 2 and first[0] == 0x80 and first[1] <= 5)
    if by_magic or path.suffix.lower() in PICKLE_SUFFIXES:
        raise UnsafeWeightsError(
            f"{path} is a pickle or an archive of one, which can run any code when loaded, so it "
            f"was not opened; convert it where you trust it: "
            f"safetensors.torch.save_file(torch.load(PATH, weights_only=True), NEW_PATH)"
        )


def _parse_metadata(path: Path, stored: dict[str, str] | None) -> dict:
    stored = stored or {}
    if stored.get("format") not in (FORMAT, COMMITTEE_FORMAT):
        raise CheckpointError(
            f"{path} declares format {stored.get('format')!r} instead of {FORMAT!r}: it holds "
            f"tensors but no equilens finder; write it with equilens.models.save_checkpoint"
        )
    try:
        return {
            "format": stored["format"],
            "architecture": stored["architecture"],
            "input_spec": json.loads(stored["input_spec"]),
            "card": json.loads(stored["card"]),
            "members": int(stored["members"]) if stored["format"] == COMMITTEE_FORMAT else 1,
        }
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} has a damaged header: {error!r}") from error


def _rebuild(path: Path, metadata: dict) -> LensFinder | Committee:
    # checked before anything is built: a number in a file must not decide how much memory is taken
    if metadata["members"] > MOST_MEMBERS:
        raise CheckpointError(
            f"{path} declares {metadata['members']} members; there may be {MOST_MEMBERS} at most"
        )
    try:
        spec = InputSpec.from_dict(metadata["input_spec"])
        if max(spec.shape) > LARGEST_SIDE_PX:
            raise ValueError(f"sides may have {LARGEST_SIDE_PX} pixels at most, got {spec.shape}")
        architecture = metadata["architecture"]
        if metadata["format"] == FORMAT:
            return build_finder(architecture, spec)
        return Committee([build_finder(architecture, spec) for _ in range(metadata["members"])])
    except (ArchitectureError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} declares a network that cannot be built: {error}") from error


def load_checked_state(
    path: Path, module: nn.Module, state: dict[str, torch.Tensor], name: str
) -> None:
    """Load tensors into a module that they fit; `name` is what they should fit.

    Raises
    ------
    CheckpointError
        Tensors are missing, unknown, misshapen or not finite.
    """
    expected = module.state_dict()
    wrong = sorted(
        key
        for key in expected.keys() | state.keys()
        if key not in expected
        or key not in state
        or expected[key].shape != state[key].shape
        or not bool(torch.isfinite(state[key]).all())
    )
    if wrong:
        raise CheckpointError(
            f"{path} does not fit {name}: {len(wrong)} tensors are missing, "
            f"unknown, misshapen or not finite, first {wrong[0]!r}"
        )
    module.load_state_dict(state)
