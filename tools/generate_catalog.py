"""Write api/src/fljob_api/catalog.json from the runtime's registries. Part of `make generate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fljob_api.catalog import NEEDS_FOLDER
from fljob_runtime import registry


def main() -> None:
    """Write the catalog under the folder given (default: the repository)."""
    registry.load()
    path = Path(sys.argv[1] if sys.argv[1:] else ".") / "api/src/fljob_api/catalog.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = registry.catalog()
    for name, schema in kinds["datasets"].items():
        data, _ = registry.find(registry.RegistryKind.DATASET, name)
        schema[NEEDS_FOLDER] = getattr(data, "needs_folder", False)
    text = json.dumps(_without_titles(kinds), indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _without_titles(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [_without_titles(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_titles(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}


if __name__ == "__main__":
    main()
