"""The index of the grants: action, protocol, asset -> places in `data.grants` where a grant can be.

Made when a bundle is loaded and given to the engines as data, so that a decision costs nothing for grants
about other assets. It only narrows: core holds every condition against the grant itself, so a wrong index
can take a right away but never give one.

    grant_index:
      assets: {read: {modbus: {plc-1: [0, 3, 4]}}}     grants that name assets
      others: {browse: {https: [8]}}                   grants for operations that name none
"""

from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENT = "grant_index"
"The document's name; no data file may use it."

Index = dict[str, Any]


def grant_index(grants: Sequence[Mapping[str, Any]]) -> Index:
    """The index of those grants, which fit their schema."""
    assets: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for place, grant in enumerate(grants):
        for action in grant["actions"]:
            for protocol in grant["protocols"]:
                if "assets" in grant:
                    by_asset = assets.setdefault(action, {}).setdefault(protocol, {})
                    for asset in grant["assets"]:
                        _add(by_asset, asset, place)
                else:
                    _add(others.setdefault(action, {}), protocol, place)
    return {"assets": assets, "others": others}


def _add(places: dict[str, list[int]], name: str, place: int) -> None:
    """Once, however often the grant says it."""
    known = places.setdefault(name, [])
    if known[-1:] != [place]:
        known.append(place)
