"""RecipeFile: a group of settings that is read from a TOML file, shipped or the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Self

from lmworks.basics.config import Config, merge, overrides, read_toml
from lmworks.basics.errors import ConfigError


class RecipeFile(Config):
    """The settings of one verb; `kind` is the folder in lmworks/recipes that holds its shipped files."""

    kind: ClassVar[str]

    @classmethod
    def read(cls, name: str | Path | None = None, changes: Sequence[str] | None = None) -> Self:
        """A shipped recipe by name, or a TOML file by path; `changes` are `section.key=value`.

        ConfigError for unknown keys and values that make no sense, with the file's name where it is to blame.
        """
        path = None if name is None else cls.path_of(name)
        try:
            return cls(**merge({} if path is None else cls.tables(path), overrides(changes or [])))
        except ConfigError as error:
            if path is None or (changes and path in cls.shipped().values()):  # the mistake is among the changes
                raise ConfigError(str(error)) from None
            raise ConfigError(f"{path.name}: {error}") from None

    @classmethod
    def tables(cls, path: Path) -> dict[str, Any]:
        """What a file says."""
        return read_toml(path)

    @classmethod
    def written_before(cls, tables: Mapping[str, Any]) -> dict[str, Any]:
        """A recipe that was dumped into a run's files, perhaps by an older version, in today's settings.

        What is not a setting stays as it is, as does a recipe that no longer validates.
        """
        known = {name: value for name, value in tables.items() if name in cls.model_fields}
        try:
            return {**tables, **cls(**known).model_dump(mode="json")}
        except ConfigError:
            return dict(tables)

    @classmethod
    def shipped(cls) -> dict[str, Path]:
        """The recipes of this kind that come with lmworks, by name."""
        folder = Path(str(resources.files("lmworks") / "recipes" / cls.kind))
        return {path.stem: path for path in sorted(folder.glob("*.toml"))}

    @classmethod
    def path_of(cls, name: str | Path) -> Path:
        """A path, or a shipped recipe's."""
        path, shipped = Path(name), cls.shipped()
        if path.suffix == ".toml" or path.exists():
            return path
        if str(name) not in shipped:
            raise ConfigError(
                f"{name} is not a shipped recipe; there are {', '.join(shipped)}, or give the path of a .toml file"
            )
        return shipped[str(name)]
