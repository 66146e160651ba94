"""What the nodes of a study are called in its plan, its messages, its page and its figures."""

from __future__ import annotations

from dataclasses import dataclass

# A reader who knows nothing of the study yet is told more than the word.
_IN_FULL = {"heads": "attention heads"}


@dataclass(frozen=True)
class Words:
    """The words for one kind of node, and for what is read of it.

    Attributes:
        kind: one of `synkern.models.nodes.KINDS`.
        one, many: "head" and "heads".
        numbered: whether a layer has several.
        signal: what is read of a node, one of the kind's signals.
        said: the same, in a phrase.
    """

    kind: str
    one: str
    many: str
    numbered: bool
    signal: str
    said: str

    @property
    def full(self) -> str:
        """The word for several where they are first named."""
        return _IN_FULL.get(self.kind, self.many)

    @property
    def a(self) -> str:
        """One of them with its article."""
        return f"{'an' if self.one[0] in 'aeiou' or self.one.startswith('MLP') else 'a'} {self.one}"

    def among(self, layers: int) -> str:
        """Several of them and the layers that they are in."""
        return f"{self.full} in {layers} layers" if self.numbered else f"{self.full}, one a layer"

    def of_the(self, layers: str) -> str:
        """Those of some layers, such as "middle layers"."""
        return layers if self.many == "layers" else f"{self.many} of the {layers}"

    @property
    def of_a_layer(self) -> str:
        """Those of one layer."""
        return f"a layer's {self.many}" if self.numbered else f"each {self.one}"

    @property
    def axis(self) -> str:
        """What an axis shows on which they stand in order of layer."""
        return self.one if self.one == "layer" else f"{self.one}, by layer"
