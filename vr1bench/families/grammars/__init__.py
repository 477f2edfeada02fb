"""Grammars: how boxes and labels are spelled. Each reads any text and writes what it reads; none knows a frame."""

from typing import Annotated

from pydantic import Field

from vr1bench.families.grammars.json_boxes import JsonGrammar
from vr1bench.families.grammars.points import PointGrammar
from vr1bench.families.grammars.text import TextGrammar

Grammar = Annotated[JsonGrammar | TextGrammar | PointGrammar, Field(discriminator="kind")]
