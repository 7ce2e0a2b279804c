"""Pure translation of the model into xDS resources, one scope at a time."""

from isthmus_controlplane.translate.memo import Memo
from isthmus_controlplane.translate.translate import translate, translate_instances
from isthmus_controlplane.translate.translation import Translation

__all__ = ["Memo", "Translation", "translate", "translate_instances"]
