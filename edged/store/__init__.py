"""The models on this device: the door is `Store`."""

from edged.store.door import Store
from edged.store.listing import GUIDE
from edged.store.model_file import ModelFile, key_of, unusable
from edged.store.records import Piece, Record

__all__ = ["GUIDE", "ModelFile", "Piece", "Record", "Store", "key_of", "unusable"]
