"""The OpenAPI description of the control plane."""

from __future__ import annotations

from typing import Any

import msgspec
from quart_schema import DataSource, OpenAPIProvider
from werkzeug.routing import Rule


class ErrorAnswer(msgspec.Struct):
    """Why a request was not carried out."""

    error: str


class ApiDescription(OpenAPIProvider):
    """What quart-schema knows, with the answers without a body, those that tell of errors, and
    lists, which it takes for their items."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        paths, components = super().build_paths(rule)
        error, needed = self.build_response_object(ErrorAnswer, None)
        for path in paths.values():
            for operation in path.values():
                responses = operation["responses"] or {204: {"description": "It is done."}}
                named = {str(status): response for status, response in responses.items()}
                operation["responses"] = named | {"default": error}
        return paths, components | needed

    def build_request_body(
        self, model: type[Any], source: DataSource
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        content, components = _content(model)
        return {"content": content, "required": True}, components

    def build_response_object(
        self, model: type[Any], headers_model: type[Any] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        content, components = _content(model)
        return {"content": content, "description": ""}, components


def _content(model: type[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """JSON of a type, and the schemas that it needs."""
    (schema,), components = msgspec.json.schema_components(
        [model], ref_template="#/components/schemas/{name}"
    )
    return {"application/json": {"schema": schema}}, components
