"""The contract that every room of FLJob shares.

Types of the FLJob resource, its CRD, names and labels of children, conditions, the job configuration
that containers read, progress, exit codes, certificates, and the wire protocol. No room may be imported
from here, nor torch, kopf or gRPC.
"""

from typing import Final

GROUP = "fljob.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "fljob.dev/v1alpha1"
KIND: Final = "FLJob"
PLURAL = "fljobs"
SHORT_NAME = "flj"
