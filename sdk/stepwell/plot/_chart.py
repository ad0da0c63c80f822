"""A chart: a table, and a Vega specification with the columns that it draws.

Created by the functions of this package. `log({"k": chart})` stores the table under a key of its own, and the layout in
the run's config, in the form that both Stepwell's and W&B's pages use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.data_types._files import FileSink
from stepwell.data_types._media import Encoded, Media
from stepwell.data_types._table import Table
from stepwell.errors import DataError


class CustomChart(Media):
    """A chart of a table.

    Args:
        spec: the name of the Vega specification, as in "wandb/line/v0".
        table: the data.
        fields: the column for each field of the specification.
        strings: titles and the like.
        split_table: whether to store the table separately, below `Custom Chart Tables/`.

    Attributes:
        spec, table, fields, strings, split_table: the arguments.
    """

    folder = Table.folder

    def __init__(
        self,
        spec: str,
        table: Table,
        fields: Mapping[str, str],
        strings: Mapping[str, Any] | None = None,
        split_table: bool = False,
    ) -> None:
        if not isinstance(table, Table):
            raise DataError(
                f"a chart needs a Table, not {type(table).__name__}", hint="stepwell.Table(columns=[...], data=[...])"
            )
        missing = [column for column in fields.values() if column is not None and column not in table.columns]
        if missing:
            raise DataError(f"the table has no column {missing[0]!r}", detail=f"it has {table.columns}")
        self.spec = spec
        self.table = table
        self.fields = dict(fields)
        self.strings = dict(strings or {})
        self.split_table = split_table
        self._prepared: Media | None = None

    def table_key(self, key: str) -> str:
        """The key of the table when the chart is logged under `key`."""
        return f"Custom Chart Tables/{key}_table" if self.split_table else f"{key}_table"

    row_key = table_key

    def config_entry(self, key: str) -> dict[str, Any]:
        """The layout, stored in the run's config as `_wandb.visualize.<key>`. For nested charts, the key is the dot
        path."""
        table_query = {"name": "tableKey", "value": self.table_key(key)}
        run_sets = {"name": "runSets", "value": "${runSets}"}
        names: list[dict[str, Any]] = [{"name": name, "fields": []} for name in ("id", "name", "_defaultColorIndex")]
        return {
            "panel_type": "Vega2",
            "panel_config": {
                "panelDefId": self.spec,
                "fieldSettings": self.fields,
                "stringSettings": self.strings,
                "transform": {"name": "tableWithLeafColNames"},
                "userQuery": {
                    "queryFields": [
                        {
                            "name": "runSets",
                            "args": [run_sets],
                            "fields": [*names, {"name": "summaryTable", "args": [table_query], "fields": []}],
                        }
                    ]
                },
            },
        }

    def config_entries(self, key: str) -> dict[str, Any]:
        return {
            "visualize": {key: self.config_entry(key)},
            **(self._prepared or self.table).config_entries(self.table_key(key)),
        }

    def prepare(self) -> Media:
        chart = CustomChart(self.spec, self.table, self.fields, self.strings, self.split_table)
        chart._prepared = self.table.prepare()
        return chart

    def encode(self, key: str, step: int | str, sink: FileSink) -> Encoded:
        """The JSON of the table. `key` is the key in the row, that is, `row_key(…)`."""
        return (self._prepared or self.table.prepare()).encode(key, step, sink)


def plot_table(
    vega_spec_name: str,
    data_table: Table,
    fields: Mapping[str, str],
    string_fields: Mapping[str, Any] | None = None,
    split_table: bool = False,
) -> CustomChart:
    """A chart of any specification: `fields` maps its fields to columns of the table.

    Raises:
        DataError: `data_table` is not a table, or lacks a column.
    """
    if not isinstance(vega_spec_name, str):
        raise DataError("the name of the specification must be a string", detail=f"{vega_spec_name!r}")
    return CustomChart(vega_spec_name, data_table, fields, string_fields, split_table)
