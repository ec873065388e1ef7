"""What decoded frames carry beside their pixels, of every kind that libavutil has, and how it is told."""

from collections.abc import Iterable
from enum import Enum
from typing import Any

from av.sidedata.sidedata import Type as _Kind

_NUMBERED = {28: "LCEVC", 29: "VIEW_ID", 30: "THREE_D_REFERENCE_DISPLAYS", 31: "EXIF"}
"""Kinds that libavutil has and PyAV 18 has no name for, by libavutil's numbers, which never change."""

_NUMBER = "KIND_"
"""Before the number of a kind that nobody here has a name for."""

_WITH_NUMBER = {
    _NUMBER: "side data inside the picture's stream of a kind that is not known here ({}) are",
    "BLOCK_": "data beside the picture's packets (BlockAdditional {}) are",
}
"""What is told with its number, by what stands before it in the name of its kind."""

_ENCODERS = (
    bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"),  # x264
    bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"),  # x265
)
"""Marks of the options that encoders write into their streams, which say nothing of the picture."""

_UNCARRIED = {
    "A53_CC": "closed captions inside the picture's stream are",
    "VIEW_ID": "the second view of a 3D video is",
    "LAYER": "a second layer inside the picture's stream is",
    "LCEVC": "an enhancement layer (LCEVC) inside the picture's stream is",
    "EXIF": "EXIF inside the frames is",
    "ICC_PROFILE": "a colour profile inside the frames is",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata inside the picture's stream are",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata inside the picture's stream are",
    "DOVI_METADATA": "Dolby Vision metadata inside the picture's stream are",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata inside the picture's stream are",
    "AMBIENT_VIEWING_ENVIRONMENT": "the light around the viewer, told inside the picture's stream, is",
    "FILM_GRAIN_PARAMS": "film grain parameters inside the picture's stream are",
    "SPHERICAL": "marks of a 360° video inside the picture's stream are",
    "STEREO3D": "marks of a 3D video inside the picture's stream are",
    "THREE_D_REFERENCE_DISPLAYS": "marks of 3D displays inside the picture's stream are",
    "AFD": "the active part of the picture (AFD), told inside its stream, is",
    "S12M_TIMECODE": "time code inside the picture's stream is",
    "SEI_UNREGISTERED": "data of an unknown kind (SEI) inside the picture's stream are",
}
"""What frames and packets may carry that no encoder here is told."""


def _unnamed(kinds: Any, number: object) -> Enum | None:
    """A member of PyAV's enumeration for a number that it has no name for; None where that cannot be."""
    if not isinstance(number, int) or number < 0:
        return None
    plain = kinds._member_type_ is object  # else its members are numbers themselves
    kind: Enum = object.__new__(kinds) if plain else kinds._member_type_.__new__(kinds, number)
    kind._name_, kind._value_ = f"{_NUMBER}{number}", number
    return kind


# PyAV collects all that a frame carries at once, and raises at the first kind that its enumeration lacks: of such a
# frame nothing could be read, its rotation no more than the rest. `Enum` asks this function about what it lacks, where
# a class has it; what PyAV has names for stays as it is.
_Kind._missing_ = classmethod(_unnamed)  # type: ignore[assignment]


def side_data_of(frame: Any) -> dict[str, bytes]:
    """What a decoded frame carries beside its pixels, by the names of the kinds; options of encoders are left out."""
    found = {}
    for data in frame.side_data:
        kind, content = name_of(data.type), bytes(data)
        if kind != "SEI_UNREGISTERED" or not content.startswith(_ENCODERS):
            found[kind] = content
    return found


def name_of(kind: Any) -> str:
    """The name of a kind: ours where PyAV 18 has none, whatever a later one calls it; else PyAV's."""
    return _NUMBERED.get(int(kind.value)) or str(kind.name)


def not_carried(kinds: Iterable[str]) -> list[str]:
    """Notices of what frames and packets carry, by the names of the kinds, and no result does."""
    found = set(kinds)
    if "VIEW_ID" in found:
        found.discard("LAYER")  # which holds that view
    lost = [what for kind, what in _UNCARRIED.items() if kind in found]
    for prefix, what in _WITH_NUMBER.items():
        lost += [what.format(kind.removeprefix(prefix)) for kind in sorted(found) if kind.startswith(prefix)]
    return [f"{what} not carried; keep the original" for what in dict.fromkeys(lost)]
