"""The controllers by name; a further one is a file and a line here."""

from __future__ import annotations

from compressc.passes.scas.controllers.alternation import Alternation
from compressc.passes.scas.controllers.controller import Controller
from compressc.passes.scas.controllers.hypernet import Hypernet
from compressc.passes.scas.controllers.reinforce import Reinforce

CONTROLLERS: dict[str, type[Controller]] = {
    "reinforce": Reinforce,
    "alternation": Alternation,
    "hypernet": Hypernet,
}
