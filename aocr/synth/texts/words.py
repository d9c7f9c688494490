"""The built-in list of English words by frequency class, from SCOWL: see words-copyright.txt."""

from __future__ import annotations

import functools
import lzma
from pathlib import Path

CLASSES = {"top": 36, "common": 28, "mid": 14, "rare": 5, "names": 14, "abbreviations": 3}
"""Classes of the list and their percentage of the words drawn."""

_SIGNS = """
the of and to a in for is on at by with from or you we our your all new no not be it this that are as
Sale SALE Open OPEN Exit EXIT STOP Hotel Cafe Coffee Bar Restaurant Pizza Shop Store Market Bank Parking PARKING
Street Road Avenue Lane Drive Park School Library Museum Centre Center House Station Airport Taxi Bus Train Police
Fire Hospital Pharmacy Free Best Big Hot Fresh Food Fast Home Office Club Music Books Garden City North South East
West Entrance WAY OUT PUSH PULL Welcome Closed Only Please Danger CAUTION WARNING Private Keep Clear Speed Limit Slow
Ahead Toilet Ladies Men Women Children Special Offer Off Price Buy Get One Two Three Day Night Week Today Now Here
Sports World Life Love Fashion Beauty Hair Salon Nails Tea Wine Beer Grill Kitchen Bakery Chicken Burger Fish Rice
Noodle Sushi Thai Indian Chinese Italian Company Ltd Inc Co Services Service Insurance Travel Tours Tickets Phone
Mobile Internet Computer Repair Auto Car Wash Gas Oil Tyres Rent Lease Apartments Estate Agents Property Solicitors
Dental Clinic Doctor Optical Optician Theatre Cinema Films Live Dance Studio Gallery Art Design Print Photo Copy Post
Mail Express Delivery Cash Credit Cards ATM
"""
SIGNS = _SIGNS.split()
"""Words of shops and streets, more frequent in photographs than in books."""


@functools.cache
def words_by_length() -> dict[str, dict[int, list[str]]]:
    """Load the list: class -> length in characters -> words."""
    text = lzma.decompress(Path(__file__).with_name("words.txt.xz").read_bytes()).decode()
    classes: dict[str, dict[int, list[str]]] = {}
    for line in text.splitlines():
        name, *words = line.split(" ")
        lengths = classes.setdefault(name, {})
        for word in words:
            lengths.setdefault(len(word), []).append(word)
    return classes
