"""The pages as files: nothing from elsewhere, words in every language, an old browser's script, readable colours."""

import re
from importlib.resources import files

import pytest

from agent.messages import LANGUAGES, Messages

PAGES = files("agent.api") / "page"
FOR_KIOSKS = {
    "page": ("live.js", "words.js", "page.js"),
    "customer": ("live.js", "customer.js"),
    "admin": ("live.js", "words.js", "door.js", "queue.js", "plots.js", "admin.js"),
}
STRING_OR_COMMENT = re.compile(r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|//[^\n]*|/\*.*?\*/)""", re.DOTALL)
NEWER_SYNTAX = re.compile(r"=>|`|\?\?|\?\.|\*\*|\.\.\.|\b(?:let|const|class|async|await|import|export|of|yield)\b")
NEWER_LIBRARY = re.compile(
    r"\b(?:fetch|Promise|Symbol|Map|Set|WeakMap|Proxy|Reflect|URL|URLSearchParams|globalThis|AbortController)\b"
    r"|\.(?:append|prepend|replaceChildren|replaceWith|remove|before|after|closest|matches|includes|startsWith|endsWith"
    r"|padStart|padEnd|repeat|find|findIndex|flat|flatMap|at|fill|finally|then|assign|entries|values|from|dataset"
    r"|formatToParts|toggleAttribute)\b\(?"
)
NEWER_STYLE = re.compile(
    r"var\(|--[a-z]|\bgrid\b|\bgap\b|\binset\b|clamp\(|\bmin\(|\bmax\(|:is\(|:where\(|:has\(|:focus-visible|aspect-ratio"
    r"|\bdvh\b|place-|margin-inline|padding-inline|color-mix|@layer|@supports|@container|backdrop|object-fit"
)


def source(name):
    return (PAGES / name).read_text(encoding="utf-8")


def script(name):
    """A script without its strings and comments."""
    return STRING_OR_COMMENT.sub("0", source(name))


@pytest.mark.parametrize("path", ["/", "/customer", "/admin", "/docs"])
async def test_pages_load_nothing_from_elsewhere(house, path):
    """A page has no inline script or style and names no address but the agent's own; its policy allows just that."""
    answer = await house.http.get(path, headers={"authorization": ""})
    policy = answer.headers["content-security-policy"]
    links = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
    parts = [answer.text]
    for link in links:
        part = await house.http.get(link)
        assert part.status_code == 200, link
        parts.append(part.text)

    assert answer.headers["content-type"].startswith("text/html")
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert len(links) >= 3
    assert all(link.startswith("/page/") or link in ("/", "/openapi.json") for link in links)
    for text in parts:
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|127\.0\.0\.1:8787\b)", text)
        assert "@import" not in text
        assert "url(" not in text
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", answer.text)
    assert "innerHTML" not in "".join(parts)


def test_the_pages_words_exist_in_every_language():
    """Every text that the staff page asks for is there, in each language."""
    page = "".join(source(name) for name in ("page.html", "page.js", "words.js"))
    asked = set(re.findall(r'data-text="([^"]+)"', page)) | set(re.findall(r'text\("([^"]+)"\)', page))
    asked |= {f"page.queue.{count}" for count in ("depth", "held", "parked", "in_doubt")}
    asked |= {f"level.{level}.title" for level in range(1, 5)}
    asked |= {"system.online", "system.held", "system.offline", "role.loyalty", "role.forward"}
    assert len(asked) > 30
    for language in LANGUAGES:
        assert asked <= Messages(language).page(language).keys()


def test_the_administrators_words_exist_in_every_language():
    """Every text that the administrators' page asks for is there, and none is left that nobody asks for."""
    page = "".join(source(name) for name in ("admin.html", *FOR_KIOSKS["admin"]))
    asked = set(re.findall(r'"((?:admin|page)\.[a-z0-9_.]+)"', page)) - {"page.css", "admin.css"}
    asked |= {f"admin.{what}{part}" for what in ("retry", "discard") for part in ("", ".means", ".yes", ".done")}
    asked |= {f"admin.{order}{part}" for order in ("flush", "sync", "pause", "resume") for part in ("", ".help")}
    for language in LANGUAGES:
        texts = Messages(language).page(language).keys()
        assert asked <= texts
        assert {key for key in texts if key.startswith("admin.")} <= asked


@pytest.mark.parametrize("name", sorted({name for names in FOR_KIOSKS.values() for name in names}))
def test_scripts_are_for_old_browsers(name):
    """A kiosk's browser of 2016 runs them: ECMAScript 5, no module, nothing of the library that came later."""
    text = script(name)
    assert len(text) > 500
    assert NEWER_SYNTAX.findall(text) == []
    assert NEWER_LIBRARY.findall(text) == []
    assert not re.search(r"[{,]\s*[a-z]\w*\s*\}(?=\s*[;)])", text)  # shorthand properties
    assert not re.search(r",\s*\)", text)  # a comma behind the last argument


@pytest.mark.parametrize(
    ("newer", "found_by"),
    [
        ("var f = () => 1;", NEWER_SYNTAX),
        ("const a = 1;", NEWER_SYNTAX),
        ("for (var a of b) {}", NEWER_SYNTAX),
        ("a?.b()", NEWER_SYNTAX),
        ("fetch(a)", NEWER_LIBRARY),
        ("list.append(a)", NEWER_LIBRARY),
        ("a.includes(b)", NEWER_LIBRARY),
        ("color: var(--ink);", NEWER_STYLE),
        ("display: grid;", NEWER_STYLE),
    ],
)
def test_what_is_newer_would_be_found(newer, found_by):
    """The checks see what they look for."""
    assert found_by.search(newer)


@pytest.mark.parametrize("name", ["page.css", "customer.css", "admin.css"])
def test_styles_are_for_old_browsers(name):
    """No grid, no gap, no custom properties: plain values and flexbox."""
    assert NEWER_STYLE.findall(re.sub(r"/\*.*?\*/", "", source(name), flags=re.DOTALL)) == []


@pytest.mark.parametrize("page", FOR_KIOSKS)
def test_pages_can_be_read_aloud(page):
    """Language, title, landmarks and labels are there, what changes is announced, and scripts are no modules."""
    html = source(f"{page}.html")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert html.startswith("<!doctype html>")
    assert '<html lang="en">' in html
    assert html.count("<main") == html.count("</main>") == 1
    assert "<title>" in html
    assert 'role="status"' in html
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]+)"', html)) <= set(ids)
    assert html.count("<section") == len(re.findall(r"<section[^>]*aria-labelledby=", html))
    assert not re.search(r'tabindex="[1-9]|user-scalable|maximum-scale|type="module"|autofocus', html)
    assert re.findall(r'src="/page/([^"]+)" defer', html) == list(FOR_KIOSKS[page])


def rules(name):
    """The colours of a style by theme, and in it by selector; the dark theme is the light one but for what it says."""
    text = re.sub(r"/\*.*?\*/", "", source(name), flags=re.DOTALL)
    light, _, dark = text.partition("@media (prefers-color-scheme: dark) {")
    themes = {"light": {}, "dark": {}}
    for theme, part in (("light", light), ("dark", light + dark)):
        for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", part):
            for selector in selectors.split(","):
                found = dict(
                    re.findall(r"(?:^|[;{\s])(background|color|border-color|stroke|fill): (#[0-9a-f]{3,6})", body)
                )
                themes[theme].setdefault(selector.strip(), {}).update(found)
    return themes


def luminance(colour):
    """Relative luminance (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("style", "ink", "ground", "least"),
    [
        *(("page.css", ink, ground, 4.5) for ground in (".card", ".tell") for ink in ("body", "h2")),
        *(("page.css", ink, ".card", 4.5) for ink in ("dt", "dd.warn", "dd.bad", "dd.fine", "#lost h2")),
        *(("page.css", ink, "body", 4.5) for ink in ("h1", "footer")),
        *(("page.css", f"#sign.{light}", f"#sign.{light}", 4.5) for light in ("unknown", "green", "amber", "red")),
        ("customer.css", "body", "body", 7.0),
    ],
)
def test_colours_can_be_told_apart(theme, style, ink, ground, least):
    """Text stands out as WCAG 2.2 AA asks, and on the customers' display as AAA does, in both themes."""
    colours = rules(style)[theme]
    assert contrast(colours[ink]["color"], colours[ground]["background"]) >= least


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground", "least"),
    [
        *((kind, kind, 4.5) for kind in ("button", "button.main", 'button[aria-pressed="true"]', "input", "#said")),
        *((f".line-{place}", ".card", 3.0) for place in range(5)),
        *((f".line-{place}", ".hole", 3.0) for place in range(5)),
        (".plot text", ".card", 4.5),
        (".bad", ".card", 4.5),
    ],
)
def test_the_administrators_colours_can_be_told_apart(theme, ink, ground, least):
    """Buttons, words and the lines of a plot stand out from what they are drawn on, in both themes."""
    colours = rules("page.css")[theme] | rules("admin.css")[theme]
    drawn, under = colours[ink], colours[ground]
    assert (
        contrast(drawn.get("stroke") or drawn.get("fill") or drawn["color"], under.get("fill") or under["background"])
        >= least
    )


def test_contrast_is_what_wcag_says():
    """Black on white is 21 to 1, and a grey that just fails is known to fail."""
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)
