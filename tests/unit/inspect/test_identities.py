"""`--as`: who an address is."""

import pytest

from gateway.inspect.named import identities
from gateway.model.errors import ConfigError

HMI = "spiffe://plant.example/hmi-1"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([f"10.0.0.5={HMI}"], {"10.0.0.5": (HMI, ())}),
        ([f"10.0.0.5={HMI}:operator"], {"10.0.0.5": (HMI, ("operator",))}),
        (
            [f"10.0.0.5={HMI}:operator,10.0.0.6={HMI}"],
            {"10.0.0.5": (HMI, ("operator",)), "10.0.0.6": (HMI, ())},
        ),
        ([f"10.0.0.5={HMI}", f"fd00::6={HMI}:a.b-c"], {"10.0.0.5": (HMI, ()), "fd00::6": (HMI, ("a.b-c",))}),
        ([f"FD00:0::6={HMI}"], {"fd00::6": (HMI, ())}),
        (["10.0.0.5=x509:CN=hmi,O=plant,C=DE"], {"10.0.0.5": ("x509:CN=hmi,O=plant,C=DE", ())}),
        (["10.0.0.5=x509:CN=hmi,C=DE:viewer"], {"10.0.0.5": ("x509:CN=hmi,C=DE", ("viewer",))}),
        (["10.0.0.5=urn:plant:hmi"], {"10.0.0.5": ("urn:plant:hmi", ())}),
        (["10.0.0.5=urn:plant:hmi:operator"], {"10.0.0.5": ("urn:plant:hmi", ("operator",))}),
        (["10.0.0.5=urn:plant:hmi:one:"], {"10.0.0.5": ("urn:plant:hmi:one", ())}),
    ],
)
def test_subjects_and_roles(words: list[str], expected: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    assert identities(words) == expected


@pytest.mark.parametrize("word", ["", "10.0.0.5", "10.0.0.5=", f"hmi={HMI}", f"={HMI}"])
def test_what_names_nobody_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="SUBJECT"):
        identities([word])
