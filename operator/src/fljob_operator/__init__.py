"""The FLJob operator: one FLJob in; Jobs, Services, certificates and policies out; status back.

`wakeups` (kopf) → `queue` → `controller` → `observe` → pure `reconcile` (with `desired` and `policies`) → `cluster`.
"""
