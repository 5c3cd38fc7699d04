"""What is wrong with a page as it stands: broken rules of accessibility in light and dark, and what is too wide."""

import os
import re
from pathlib import Path

from app.config import ROOT

AXE = (ROOT / "tests" / "browser" / "vendor" / "axe" / "axe.min.js").read_text()
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
WIDTHS = (360, 768, 1280, 1600)
THEMES = ((360, "dark"), (1280, "light"))  # colours do not depend on the width: each theme is looked at once
SQUEEZED = """() => [...document.querySelectorAll('dd, legend')].map(e => [e.innerText, e.clientWidth])
  .filter(([text, width]) => text.length > 12 && width && width < 64).map(([text]) => text).slice(0, 12)"""
RUN_ON = """() => [...document.querySelectorAll('main :is(p, li, td, dd, legend, label)')]
  .filter(e => !/flex|grid/.test(getComputedStyle(e).display) && !e.querySelector('p, li, div, button'))
  .map(e => e.innerText.match(/.{0,30}[a-zäöüß)][.!?][A-ZÄÖÜ0-9].{0,20}/)?.[0]).filter(Boolean).slice(0, 12)"""
WIDE = """() => [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => `${e.tagName} ${e.className}`).slice(0, 12)"""


def complaints(page, name: str) -> list[str]:
    """What is wrong at every width and in both themes; the page is 1280 px wide and light afterwards."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        found += too_wide(page, name)
        found += [f"{name} squeezes {one!r} at {width} px" for one in page.evaluate(SQUEEZED)]
    found += [f"{name} has no space between two sentences: {one!r}" for one in page.evaluate(RUN_ON)]
    if page.locator("h1").count() != 1:
        found.append(f"{name} has {page.locator('h1').count()} headings of the first level")
    for width, scheme in THEMES:
        page.set_viewport_size({"width": width, "height": 900})
        found += violations(page, name, scheme)
    if folder := os.environ.get("SCREENSHOTS"):
        keep_pictures(page, name, Path(folder))
    return found


def keep_pictures(page, name: str, folder: Path) -> None:
    """Leave pictures of the page in a folder, wide and narrow, light and dark; the page is 1280 px wide afterwards."""
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            file = f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'desk'}-{width}-{scheme}.png"
            page.screenshot(path=folder / file, full_page=True)


def too_wide(page, name: str) -> list[str]:
    """That the page is wider than the window, if it is."""
    over, width = page.evaluate("[document.documentElement.scrollWidth - innerWidth, innerWidth]")
    return [f"{name} is {over} px too wide at {width} px: {page.evaluate(WIDE)}"] if over > 0 else []


def violations(page, name: str, scheme: str) -> list[str]:
    """What axe finds in a theme."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.evaluate(AXE)
    return [
        f"{name} ({scheme}) {one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
    ]
