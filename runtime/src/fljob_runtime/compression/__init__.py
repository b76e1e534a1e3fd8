"""Codecs of updates: each file one codec, `chain` puts them together. Importing the package registers all of them.

Used by transport (encodes), by server staging (decodes) and by the roles (error feedback). Numpy only; knows no wire.
"""

from fljob_runtime.compression import halves, none, quantise, sketch, top_k

__all__ = ["halves", "none", "quantise", "sketch", "top_k"]
