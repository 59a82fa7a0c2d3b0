"""Phrases of notes and incidents by which a diagnosis recognises what was observed of the servers.

Whoever notes such an observation takes the phrase from here, and so does the diagnosis: rewording one breaks neither.
"""

from __future__ import annotations

from enum import StrEnum


class Observed(StrEnum):
    """Observations of the servers, each as the phrase that its note or incident contains."""

    ANOTHER_CLIENT = "another client uses it"
    LOADED_BY_OTHERS = "somebody else loaded"
    USED_BY_OTHERS = "somebody else used instance"
    RELOADED_BY_OTHERS = "somebody else had loaded the model"
    BUSY_CORES = "kept it from its cores"
    MODEL_LEFT = "the model had left"
    WAITED_FOR_MODEL = "to load the model"
    SPILLED = "outside the GPU's memory"
    UNEQUAL_PLACES = "these agents do not run on equal terms"
    VERSIONS_DIFFER = "the instances run different versions"
    CONTEXTS_DIFFER = "gave the same request different contexts"
    CONTEXT_IS_SMALL = "gives the model a context of"
    FEWER_SLOTS = "slots were asked for"
