"""What a later OpenAPI document breaks for who built against an earlier one.

A till that was written against the earlier document goes on to work with the later one: what it sends is still taken,
what it reads is still there, and no word comes that it cannot know. Whoever generates a client anew finds its methods
and types under the names that their program uses. Texts, new calls, new fields of answers and new fields of requests
that may be left out break nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
_LEAST = {"minimum", "minLength", "minItems", "exclusiveMinimum"}
_MOST = {"maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"}
_AS_IT_WAS = {"pattern", "format", "const"}


def breaks(old: Json, new: Json) -> list[str]:
    """Everything that breaks somebody, each with its place; nothing when nobody is broken."""
    return list(dict.fromkeys(_Comparison(old, new).calls()))


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old, self._new = old, new
        self._under_way: set[tuple[str, str, bool]] = set()

    def calls(self) -> Iterator[str]:
        for path, verbs in self._old["paths"].items():
            for verb, before in verbs.items():
                place = f"{verb.upper()} {path}"
                after = self._new["paths"].get(path, {}).get(verb)
                if after is None:
                    yield f"{place}: is gone"
                    continue
                yield from self._call(place, before, after)
        for name in self._old["components"]["schemas"].keys() - self._new["components"]["schemas"].keys():
            yield f"{name}: no type is called so any more"

    def _call(self, place: str, before: Json, after: Json) -> Iterator[str]:
        for name in ("operationId", "tags"):  # method and module of a generated client
            if before.get(name) != after.get(name):
                yield f"{place}: another {name}"
        if before.get("x-scope") != after.get("x-scope"):
            yield f"{place}: takes another scope"
        yield from self._parameters(place, before, after)
        yield from self._body(place, before, after)
        yield from self._answers(place, before, after)

    def _parameters(self, place: str, before: Json, after: Json) -> Iterator[str]:
        known = {(one["name"], one["in"]): one for one in before["parameters"]}
        told = {(one["name"], one["in"]): one for one in after["parameters"]}
        for key, one in known.items():
            if key not in told:
                yield f"{place}: parameter {key[0]} is gone"
                continue
            yield from self._taken(f"{place}?{key[0]}", one["schema"], told[key]["schema"])
        for key, one in told.items():
            if one.get("required") and not known.get(key, {}).get("required"):
                yield f"{place}: parameter {key[0]} is needed"

    def _answers(self, place: str, before: Json, after: Json) -> Iterator[str]:
        for status, answer in before["responses"].items():
            if status not in after["responses"]:
                yield f"{place}: does not answer {status} any more"
                continue
            for kind, content in answer.get("content", {}).items():
                later = after["responses"][status].get("content", {}).get(kind)
                if later is None:
                    yield f"{place}: {status} is no {kind} any more"
                else:
                    yield from self._given(f"{place} {status}", content["schema"], later["schema"])

    def _body(self, place: str, before: Json, after: Json) -> Iterator[str]:
        was, is_now = before.get("requestBody"), after.get("requestBody")
        if is_now and is_now.get("required") and not (was or {}).get("required"):
            yield f"{place}: a body is needed"
        if was and is_now:
            for kind, content in was["content"].items():
                if kind not in is_now["content"]:
                    yield f"{place}: takes no {kind}"
                else:
                    yield from self._taken(f"{place} body", content["schema"], is_now["content"][kind]["schema"])

    def _taken(self, place: str, old: Any, new: Any) -> Iterator[str]:
        """What was sent has to be taken still."""
        yield from self._schema(place, old, new, sent=True)

    def _given(self, place: str, old: Any, new: Any) -> Iterator[str]:
        """What comes has to be something that could come before."""
        yield from self._schema(place, old, new, sent=False)

    def _schema(self, place: str, old: Any, new: Any, *, sent: bool) -> Iterator[str]:
        key = (repr(old.get("$ref", id(old))), repr(new.get("$ref", id(new))), sent)
        if key in self._under_way:
            return
        self._under_way.add(key)
        old, new = _resolved(self._old, old), _resolved(self._new, new)
        wide, narrow = (new, old) if sent else (old, new)  # whatever fits the narrow one must fit the wide one
        olds, news = _choices(old), _choices(new)
        if len(olds) > 1 or len(news) > 1:
            yield from self._choice(place, _choices(narrow), _choices(wide), sent=sent)
        else:
            yield from self._alike(place, old, new, sent=sent)
        self._under_way.discard(key)

    def _choice(self, place: str, narrow: list[Any], wide: list[Any], *, sent: bool) -> Iterator[str]:
        for one in narrow:
            fits = (
                not list(self._schema(place, *((one, other) if sent else (other, one)), sent=sent)) for other in wide
            )
            if not any(fits):
                yield f"{place}: {_name(one)} is {'not taken any more' if sent else 'new'}"

    def _alike(self, place: str, old: Json, new: Json, *, sent: bool) -> Iterator[str]:
        wide, narrow = (new, old) if sent else (old, new)
        if _types(narrow) - _types(wide) and _types(wide):
            yield f"{place}: is {', '.join(sorted(_types(new)))} now"
            return
        words, known = _words(narrow), _words(wide)
        if known is not None and (words is None or not words <= known):
            yield f"{place}: other words than {', '.join(sorted(map(str, known & (words or set()))))}"
        for name in _AS_IT_WAS - {"const"}:
            if wide.get(name) != narrow.get(name) and wide.get(name) is not None:
                yield f"{place}: another {name}"
        for names, sign in ((_MOST, 1), (_LEAST, -1)):
            for name in names & wide.keys():
                if name not in narrow or sign * narrow[name] > sign * wide[name]:
                    yield f"{place}: another {name}"
        yield from self._fields(place, old, new, sent=sent)
        if "items" in old and "items" in new:
            yield from self._schema(f"{place}[]", old["items"], new["items"], sent=sent)
        if isinstance(old.get("additionalProperties"), dict) and isinstance(new.get("additionalProperties"), dict):
            yield from self._schema(f"{place}{{}}", old["additionalProperties"], new["additionalProperties"], sent=sent)

    def _fields(self, place: str, old: Json, new: Json, *, sent: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in after:
                yield f"{place}/{name}: is gone"
            else:
                yield from self._schema(f"{place}/{name}", schema, after[name], sent=sent)
        must, had_to = set(new.get("required", ())), set(old.get("required", ()))
        if sent:
            yield from (f"{place}/{name}: is needed" for name in sorted(must - had_to))
        else:
            yield from (f"{place}/{name}: may be missing" for name in sorted(had_to - must) if name in after)


def _resolved(document: Json, schema: Any) -> Any:
    while "$ref" in schema:
        node: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            node = node[step]
        schema = node
    return schema


def _choices(schema: Json) -> list[Any]:
    told = schema.get("anyOf") or schema.get("oneOf")
    return [choice for one in told for choice in _choices(one)] if told else [schema]


def _types(schema: Json) -> set[str]:
    told = schema.get("type")
    found = {told} if isinstance(told, str) else set(told or ())
    return found | ({"integer"} if "number" in found else set())


def _words(schema: Json) -> set[Any] | None:
    if "const" in schema:
        return {schema["const"]}
    return set(schema["enum"]) if "enum" in schema else None


def _name(schema: Json) -> str:
    return str(schema.get("$ref", schema.get("title", schema.get("type", "a form")))).rpartition("/")[2]
