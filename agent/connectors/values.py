"""A vendor's value as the replica keeps it: text, whatever JSON had it as."""


def kept_text(value: object) -> str | None:
    """A text, a number or a truth as text; None for nothing, for blanks alone, and for what is made of parts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):  # half a surrogate pair, which JSON can spell, is no text that anything can keep
        return value.encode("utf-8", "replace").decode().strip() or None
    return str(value) if isinstance(value, int | float) else None
