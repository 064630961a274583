"""The report of a vocabulary in a real browser, without a window: it loads, answers, and is legible."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_reports import toy_codec, toy_genome

from vqdna_hf.data.genome import Genome
from vqdna_hf.evaluation.report import ReportData
from vqdna_hf.evaluation.report_page import write_vocabulary_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium, which drives the browser, is not installed")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None,
    reason="no headless browser: install Chromium and its chromedriver (Debian: chromium, chromium-driver)",
)
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
# The least contrast of visible text with what is behind it, and where (WCAG 2: (L1 + 0.05) / (L2 + 0.05)).
CONTRAST = r"""
const luminance = ([r, g, b]) => [r, g, b].map(value => value / 255)
  .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, at) => sum + [0.2126, 0.7152, 0.0722][at] * value, 0);
const numbers = text => text.match(/[\d.]+/g).map(Number);
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
  if (!text || node.closest("script, noscript, .skip, .hidden, [hidden]") || !node.getClientRects().length) continue;
  let behind = node, ground = [0, 0, 0, 0];
  while (behind && ground[3] === 0) {
    const colour = numbers(getComputedStyle(behind).backgroundColor);
    ground = [...colour.slice(0, 3), colour[3] ?? 1];
    behind = behind.parentElement;
  }
  const style = getComputedStyle(node), ink = numbers(node instanceof SVGElement ? style.fill : style.color);
  const [light, dark] = [luminance(ink), luminance(ground)].sort((one, other) => other - one);
  found.push([(light + 0.05) / (dark + 0.05), `${node.tagName} ${text.slice(0, 40)}`]);
}
return found.sort((one, other) => one[0] - other[0]);
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportData]:
    folder = tmp_path_factory.mktemp("browser")
    toy_genome(folder / "genome.fa")
    (folder / "genes.bed").write_text("chrI\t1000\t1060\t<b>TOY1</b>\t0\t-\n")
    page = folder / "report.html"
    data = write_vocabulary_report(
        toy_codec(1, levels=2), folder / "genome.fa", page, region="chrI:1001-1400", annotation=folder / "genes.bed",
        progress=False,
    )  # fmt: skip
    return page, data


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    os.environ.setdefault("SE_AVOID_STATS", "true")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def resize(browser: Any, width: int) -> None:
    """The page's own width, whatever the browser's window can be."""
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def show(browser: Any, report: tuple[Path, ReportData], width: int = 1280, scheme: str = "light") -> None:
    resize(browser, width)
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for kind in ("browser", "performance"):  # reading a log empties it
        browser.get_log(kind)
    browser.get(report[0].as_uri())
    settled(browser)


def settled(browser: Any) -> None:
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def typed(browser: Any, selector: str, text: str) -> None:
    browser.execute_script(
        "const [node, text] = arguments; node.value = text; node.dispatchEvent(new Event('input'));",
        find(browser, selector), text,
    )  # fmt: skip


def all_of(browser: Any, selector: str, expression: str) -> list[Any]:
    """Something of every node that fits; `node` in the expression."""
    return browser.execute_script(
        f"return [...document.querySelectorAll(arguments[0])].map(node => {expression})", selector
    )


def listed(browser: Any) -> list[str]:
    return all_of(browser, "#list tr[data-code]", "node.dataset.code")


def visible_range(browser: Any) -> tuple[int, int]:
    settled(browser)
    first, last = re.findall(r"[\d,]+", find(browser, "#range").text.partition(":")[2])[:2]
    return int(first.replace(",", "")), int(last.replace(",", ""))


def press(browser: Any, *keys: str, target: str = "#tracks") -> None:
    for key in keys:
        event = "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: arguments[1], bubbles: true}))"
        browser.execute_script(event, find(browser, target), key)
    settled(browser)


def test_it_loads_without_errors_and_without_the_network(browser: Any, report: tuple[Path, ReportData]) -> None:
    show(browser, report)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    assert not [one for one in requests if one["request"]["url"].startswith(("http", "ws"))]
    # The browser's own first tab may still ask for its pictures.
    asked = {one["request"]["url"] for one in requests if one["documentURL"] == report[0].as_uri()}
    assert {url for url in asked if not url.startswith("data:")} == {report[0].as_uri()}
    assert "<b>TOY1</b>" in browser.execute_script("return region.features[0][4]")
    # The page's own policy: no script that comes later runs, and nothing can be fetched.
    added = "const node = document.createElement('script'); node.text = 'window.hit = 1'; document.body.append(node)"
    browser.execute_script(added)
    assert browser.execute_script("return window.hit") is None
    blocked = "fetch('data:,x').then(() => arguments[0](false), () => arguments[0](true))"
    assert browser.execute_async_script(blocked)


def test_numbers_are_those_of_the_data(browser: Any, report: tuple[Path, ReportData]) -> None:
    from vqdna_hf.evaluation.report import information_content

    show(browser, report)
    cells = all_of(browser, "#levels tbody tr", "[...node.cells].map(cell => cell.textContent)")
    data = report[1]
    assert [row[1:4] for row in cells] == [["8", "4", "50.0\u00a0%"]] * 2
    assert [float(row[4]) for row in cells] == [pytest.approx(level.perplexity, abs=0.06) for level in data.levels]
    for at, level in enumerate(data.levels):
        bits = browser.execute_script("return [...levels[arguments[0]].bits]", at)
        assert bits == pytest.approx(information_content(level.logo).sum(-1), abs=0.02)


def test_codes_are_found_by_motif_number_and_use(browser: Any, report: tuple[Path, ReportData]) -> None:
    show(browser, report)
    data = report[1]
    assert sorted(listed(browser)) == [f"{level}.{code}" for level in (1, 2) for code in range(4)]

    def with_motif(pattern: str) -> list[str]:
        return [
            f"{at}.{code}" for at, level in enumerate(data.levels, start=1)
            for code, text in enumerate(level.consensus) if re.search(pattern, text)
        ]  # fmt: skip

    for motif, pattern in (("A", "A"), ("t", "T"), ("R", "[AGR]"), ("ANC", "A.C"), ("GATTACA", "GATTACA")):
        typed(browser, "#query", motif)
        used = [code for code in with_motif(pattern) if int(code[2:]) < 4]
        assert sorted(listed(browser)) == used, motif
    typed(browser, "#query", "A")
    browser.execute_script("arguments[0].click()", find(browser, "#both"))
    assert sorted(listed(browser)) == [code for code in with_motif("A|T") if int(code[2:]) < 4]
    typed(browser, "#query", "2.3")
    assert listed(browser) == ["2.3"]
    typed(browser, "#query", "5")
    assert listed(browser) == []
    assert find(browser, "#list tbody").text == "No code fits."
    typed(browser, "#least", "0")
    assert listed(browser) == ["1.5", "2.5"]
    typed(browser, "#query", "hello!")
    assert "neither a motif" in find(browser, "#found").text


@pytest.mark.parametrize(
    ("consensus", "motif", "fits"),
    [
        ("NNTATATANN", "TATAWA", True), ("TATAAW", "TATAWW", True), ("TATAAW", "TATAWA", False),
        ("GATC", "GANC", True), ("GAYC", "GATC", False), ("GAT", "GATC", False), ("UGC".replace("U", "T"), "UGC", True),
    ],
)  # fmt: skip
def test_motifs(browser: Any, report: tuple[Path, ReportData], consensus: str, motif: str, fits: bool) -> None:
    """All that the consensus allows must be allowed by the motif; and so on the other strand."""
    if not browser.execute_script("return 'holds' in window"):
        show(browser, report)
    sets = "[...text].map(letter => SETS[letter])"
    call = f"const sets = text => {sets}; return holds(sets(arguments[0]), sets(arguments[1]))"
    assert browser.execute_script(call, consensus, motif) is fits
    turned = (
        f"const sets = text => {sets}.map(complement).reverse(); return holds(sets(arguments[0]), sets(arguments[1]))"
    )
    assert browser.execute_script(turned, consensus, motif) is fits


def test_four_levels_of_several_bases(browser: Any, tmp_path: Path) -> None:
    toy_genome(tmp_path / "genome.fa")
    page = tmp_path / "report.html"
    codec = toy_codec(stride=4, levels=4)
    data = write_vocabulary_report(codec, tmp_path / "genome.fa", page, region="chrI:1002-1101", progress=False)
    show(browser, (page, data))
    assert browser.get_log("browser") == []
    tracks = "return layout.map(track => `${track.kind} ${track.strand} ${track.level ?? ''}`.trim())"
    forward, reverse = ([f"codes {strand} {level}" for level in range(4)] for strand in ("forward", "reverse"))
    assert browser.execute_script(tracks) == [*forward, "bases forward", "bases reverse", *reversed(reverse)]
    for strand, codes in (("forward", data.region.forward), ("reverse", data.region.reverse)):
        start = {"forward": data.region.forward_start, "reverse": data.region.reverse_start}[strand]
        for base in (0, 1, 50, 99):
            found = browser.execute_script("return codeAt(...arguments)", strand, 2, base)
            assert found == codes[2][(1001 + base - start) // 4]


def test_zoom_and_pan_change_the_range(browser: Any, report: tuple[Path, ReportData]) -> None:
    show(browser, report)
    assert visible_range(browser) == (1001, 1400)
    find(browser, "#in").click()
    first, last = visible_range(browser)
    assert (last - first + 1, first) == (200, 1101)
    find(browser, "#right").click()
    assert visible_range(browser)[0] == 1201
    press(browser, "+", "+", "+", "+", "+", "+")
    assert 12 <= visible_range(browser)[1] - visible_range(browser)[0] + 1 <= 13
    assert not find(browser, "#in").is_enabled()
    press(browser, "Home")
    assert visible_range(browser)[0] == 1001
    find(browser, "#fit").click()
    assert visible_range(browser) == (1001, 1400)
    find(browser, "#place").send_keys("chrI:1,050-1,099\n")
    assert visible_range(browser) == (1050, 1099)


def test_a_code_opens_from_the_tracks(browser: Any, report: tuple[Path, ReportData]) -> None:
    """By keyboard and by pointer; then its logo, its neighbours and its places are there."""
    show(browser, report)
    data = report[1]
    find(browser, "#place").send_keys("1101-1120\n")
    settled(browser)
    press(browser, "ArrowRight", "ArrowLeft", "ArrowDown")
    base = browser.execute_script("return cursor.base")
    code = int(data.region.forward[1][base])
    assert f":{1001 + base:,} {data.region.sequence[base]}" in find(browser, "#readout").text
    press(browser, "Enter")
    assert find(browser, "#detail-title").text == f"Code 2.{code}"
    assert find(browser, "#logo svg").get_attribute("aria-label").startswith(f"Logo of code 2.{code}: ")
    assert f"base-{'ACGT'[code]}" in all_of(browser, "#logo path", "node.classList[0]")
    neighbours = all_of(browser, "#neighbours button", "node.textContent")
    assert neighbours == [f"2.{one}" for one in data.levels[1].neighbours[code] if one >= 0]
    places = int((data.region.forward[1] == code).sum() + (data.region.reverse[1] == code).sum())
    assert find(browser, "#places-count").text == f"({places})"
    x, y = browser.execute_script(
        "const track = layout.find(one => one.strand === 'reverse' && one.level === 0);"
        "const box = canvas.getBoundingClientRect();"
        "return [box.left + gutter + 5, box.top + track.y + 8]"
    )
    for kind in ("pointerdown", "pointerup"):
        browser.execute_script(
            "tracks.setPointerCapture = () => 0; tracks.dispatchEvent(new PointerEvent(arguments[0], {pointerId: 1, "
            "clientX: arguments[1], clientY: arguments[2]}))", kind, x, y,
        )  # fmt: skip
    assert find(browser, "#detail-title").text == f"Code 1.{data.region.reverse[0][100]}"


def test_the_list_and_the_map_open_codes(browser: Any, report: tuple[Path, ReportData]) -> None:
    show(browser, report, width=390)
    assert not find(browser, "#detail").is_displayed()
    browser.execute_script("document.querySelector('[data-code=\"1.2\"] button').click()")
    assert find(browser, "#detail").is_displayed()
    assert find(browser, "#detail-title").text == "Code 1.2"
    press(browser, "Escape", target="body")
    assert not find(browser, "#detail").is_displayed()
    browser.execute_script("const [s] = spots; const b = plate.getBoundingClientRect(); plane.dispatchEvent("
                           "new MouseEvent('click', {clientX: b.left + s.x, clientY: b.top + s.y}))")  # fmt: skip
    assert find(browser, "#detail-title").text == "Code 1.0"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows(browser: Any, report: tuple[Path, ReportData], width: int) -> None:
    show(browser, report, width)
    browser.execute_script("choose(1, 2, true)")
    inner, wide = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    assert inner == width
    assert wide <= width  # a scroll bar takes some
    right = "node.getClientRects().length ? node.getBoundingClientRect().right : 0"
    assert max(all_of(browser, "button, h1, h2, th, td, label", right)) <= width


@pytest.mark.parametrize("width", [375, 1280])
def test_long_names_do_not_overflow(browser: Any, tmp_path: Path, width: int) -> None:
    name = "scaffold" * 40
    genome = Genome.from_sequences([name], [toy_genome(tmp_path / "genome.fa")])
    (tmp_path / "genes.bed").write_text(f"{name}\t100\t200\t{'gene' * 60}\t0\t-\n")
    page = tmp_path / "report.html"
    data = write_vocabulary_report(
        toy_codec(1), genome, page, region=f"{name}:101-300", annotation=tmp_path / "genes.bed", progress=False
    )
    show(browser, (page, data), width)
    press(browser, "ArrowRight")
    assert name in find(browser, "#readout").text
    inner, wide = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    assert (inner, wide <= width) == (width, True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: Any, report: tuple[Path, ReportData], scheme: str) -> None:
    """At least 4.5 to 1, as the browser asks for it and after the toggle."""
    show(browser, report, scheme=scheme)
    other = {"light": "dark", "dark": "light"}[scheme]
    grounds = []
    for theme in (scheme, other):
        assert browser.execute_script("return getComputedStyle(document.documentElement).colorScheme") == theme
        found = browser.execute_script(CONTRAST)
        assert len(found) > 80
        assert found[0][0] >= 4.5, found[:5]
        grounds.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        button = find(browser, "#theme")
        assert button.text == f"{ {'light': 'Dark', 'dark': 'Light'}[theme] } theme"
        button.click()
    assert grounds[0] != grounds[1]


def test_everything_has_a_name(browser: Any, report: tuple[Path, ReportData]) -> None:
    show(browser, report)
    named = "node.ariaLabel || node.getAttribute('aria-labelledby') || node.textContent.trim() || node.labels?.length"
    things = "button, input, select, svg[role=img], [role=application], section, nav, aside"
    assert all(all_of(browser, things, f"!!({named})"))
    for name in ("aria-labelledby", "aria-describedby", "for"):
        there = f"!!document.getElementById(node.getAttribute('{name}'))"
        assert all(all_of(browser, f"[{name}]", there)), name
