"use strict";
// Plain JavaScript, no library. Whatever comes from files is put in as text, never as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const find = id => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const BASES = "ACGT";
const SETS = {A: 1, C: 2, G: 4, T: 8, U: 8, R: 5, Y: 10, S: 6, W: 9, K: 12, M: 3, B: 14, D: 13, H: 11, V: 7, N: 15};
const WIDE = matchMedia("(min-width: 1021px)");
const CALM = matchMedia("(prefers-reduced-motion: reduce)");

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(find("svg").namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function unpack([kind, text]) {
  const letters = atob(text),
    bytes = new Uint8Array(letters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = letters.charCodeAt(at);
  const types = {u1: Uint8Array, i2: Int16Array, i4: Int32Array, u4: Uint32Array, f4: Float32Array};
  return new types[kind](bytes.buffer);
}
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)}\u00a0%`;
const variable = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---------------------------------------------------------------------------------------------- the vocabulary

const region = data.region,
  stride = data.stride,
  levels = data.levels,
  width = region.end - region.start;
const levelName = at =>
  levels.length === 2 ? ["coarse", "fine"][at] : levels.length === 1 ? "codes" : `level ${at + 1}`;
const codeName = (level, code) => `${level + 1}.${code}`;
const context = (level, code) => level.occurrences[code] > 0;

for (const level of levels) {
  for (const name of ["counts", "occurrences", "shares", "places", "neighbours", "distances"])
    level[name] = unpack(level[name]);
  level.columns = 2 * level.shown + stride;
  level.total = level.counts.reduce((sum, count) => sum + count, 0);
  level.sets = level.consensus.map(motifOf);
  level.bits = new Float32Array(level.size);
  level.gc = new Float32Array(level.size);
  level.centre = new Int8Array(level.size).fill(-1);
  for (let code = 0; code < level.size; code++) {
    if (!context(level, code)) continue;
    let gc = 0;
    for (let column = 0; column < level.columns; column++) {
      const shares = sharesAt(level, code, column);
      level.bits[code] += information(shares, level.occurrences[code]);
      gc += shares[1] + shares[2];
    }
    const own = sharesAt(level, code, level.shown + Math.floor((stride - 1) / 2));
    level.gc[code] = gc / level.columns;
    level.centre[code] = own.indexOf(Math.max(...own));
  }
}
for (const strand of ["forward", "reverse"]) region[strand] = region[strand].map(unpack);

function sharesAt(level, code, column) {
  const at = 4 * (code * level.columns + column),
    found = level.shares.subarray(at, at + 4);
  const sum = found[0] + found[1] + found[2] + found[3] || 1;
  return [found[0] / sum, found[1] / sum, found[2] / sum, found[3] / sum];
}
// Bits of a column: 2 - entropy, less what so few bases would show by chance (Schneider et al. 1986).
function information(shares, bases) {
  let entropy = 3 / (2 * Math.LN2 * Math.max(bases, 1));
  for (const share of shares) if (share > 0) entropy -= share * Math.log2(share);
  return bases > 0 ? Math.max(2 - entropy, 0) : 0;
}

// Letters in a square of 100; a logo stretches them.
const GLYPHS = {
  A: "M0 100 38 0H62L100 100H77L69 77H31L23 100ZM37 59H63L50 20Z",
  C: "M100 64C95 88 76 100 52 100 20 100 0 80 0 50S20 0 52 0C76 0 95 12 100 35H76C72 24 64 18 52 18 34 18 24 30 24 50S34 82 52 82C64 82 72 76 76 64Z",
  G: "M100 100H82L80 88C73 96 63 100 51 100 20 100 0 80 0 50S20 0 53 0C78 0 95 12 99 32H75C71 23 63 18 53 18 34 18 24 30 24 50S34 82 54 82C67 82 75 75 77 64H53V46H100Z",
  T: "M0 0H100V19H62V100H38V19H0Z",
};
let allColumns = false;
// The columns that say something, and the code's own, with a margin; at least 17, so that letters stay letters.
function columnsOf(level, code) {
  if (allColumns) return [0, level.columns];
  let first = level.shown,
    last = level.shown + stride - 1;
  for (let column = 0; column < level.columns; column++) {
    if (information(sharesAt(level, code, column), level.occurrences[code]) < 0.2) continue;
    first = Math.min(first, column);
    last = Math.max(last, column);
  }
  const more = Math.max(2, Math.ceil((17 - (last - first + 1)) / 2));
  return [Math.max(first - more, 0), Math.min(last + more + 1, level.columns)];
}
function drawLogo(level, code, wide, high, axes) {
  const [first, end] = axes ? columnsOf(level, code) : [0, level.columns];
  const left = axes ? 26 : 0,
    below = axes ? 30 : 0,
    above = axes ? 6 : 0;
  const step = (wide - left) / (end - first),
    tall = high - below - above;
  const picture = svg("svg", {viewBox: `0 0 ${wide} ${high}`, role: "img"});
  picture.setAttribute("aria-label", `Logo of code ${codeName(levels.indexOf(level), code)}: ${spoken(level, code)}`);
  if (!axes) picture.setAttribute("preserveAspectRatio", "none");
  else
    picture.append(
      svg("rect", {x: left + (level.shown - first) * step, y: above, width: stride * step, height: tall, class: "own"}),
    );
  for (let column = first; column < end; column++) {
    const shares = sharesAt(level, code, column),
      bits = information(shares, level.occurrences[code]);
    const x = left + (column - first + 0.04) * step;
    let y = above + tall;
    for (const base of [0, 1, 2, 3].sort((one, other) => shares[one] - shares[other])) {
      const size = ((shares[base] * bits) / 2) * tall;
      y -= size;
      if (size < 0.4) continue;
      const transform = `translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${(0.0092 * step).toFixed(5)} ${(size / 100).toFixed(5)})`;
      picture.append(svg("path", {d: GLYPHS[BASES[base]], class: `base-${BASES[base]}`, transform}));
    }
  }
  if (axes) logoAxes(picture, level, {left, above, tall, step, wide, first, end});
  return picture;
}
function logoAxes(picture, level, {left, above, tall, step, wide, first, end}) {
  for (const bits of [0, 1, 2]) {
    const y = above + tall * (1 - bits / 2);
    picture.append(svg("line", {x1: left - 4, x2: left, y1: y, y2: y, class: "axis"}));
    picture.append(svg("text", {x: left - 7, y: y + 4, "text-anchor": "end"}, `${bits}`));
  }
  picture.append(svg("path", {d: `M${left} ${above}V${above + tall}H${wide}`, class: "axis"}));
  const every = [1, 2, 5, 10, 20, 50].find(each => each * step > 26) ?? 100;
  for (let column = first; column < end; column++) {
    const offset = column - level.shown;
    if (offset % every) continue;
    const x = left + (column - first + 0.5) * step,
      text = offset > 0 ? `+${offset}` : `${offset}`.replace("-", "\u2212");
    picture.append(svg("line", {x1: x, x2: x, y1: above + tall, y2: above + tall + 4, class: "axis"}));
    picture.append(svg("text", {x: Math.min(x, wide - 11), y: above + tall + 17, "text-anchor": "middle"}, text));
  }
}
function trimmed(level, code) {
  const text = level.consensus[code],
    first = text.search(/[^N]/);
  if (first < 0) return {text: "", first: 0};
  return {text: text.slice(first).replace(/N+$/, ""), first};
}
function spoken(level, code) {
  const found = trimmed(level, code);
  return found.text ? `${found.text}, from position ${found.first - level.shown}` : "no base preferred anywhere";
}
function consensusNodes(level, code) {
  const {text, first} = trimmed(level, code);
  if (!context(level, code)) return [el("span", {className: "gap"}, "not seen")];
  if (!text) return [el("span", {className: "gap"}, "any")];
  const nodes = [];
  for (const [at, letter] of [...text].entries()) {
    const column = first + at,
      own = column >= level.shown && column < level.shown + stride;
    const shown = letter === "N" ? "\u00b7" : letter;
    if (own || letter === "N") nodes.push(el("span", {className: own ? "mark" : "gap"}, shown));
    else if (typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += shown;
    else nodes.push(shown);
  }
  return nodes;
}

// ---------------------------------------------------------------------------------------------- colours

let colouring = "gc",
  palette = {};
function readPalette() {
  palette = {};
  for (const name of [
    "ground",
    "surface",
    "ink",
    "soft",
    "line",
    "edge",
    "accent",
    "wash",
    "a",
    "c",
    "g",
    "t",
    "n",
    "low",
    "middle",
    "high",
    "none",
  ]) {
    palette[name] = variable(`--${name}`);
  }
  palette.bases = ["a", "c", "g", "t"].map(name => rgb(palette[name]));
  for (const name of ["low", "middle", "high", "none", "n"]) palette[`${name}_rgb`] = rgb(palette[name]);
  for (const level of levels) level.colours = null;
}
const rgb = text => [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16));
const mix = (one, other, share) => one.map((value, at) => Math.round(value + (other[at] - value) * share));
const css = colour => `rgb(${colour.join()})`;
function inkOn(colour) {
  const [r, g, b] = colour.map(value => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}
// Where a code lies on the scale that is chosen, 0 to 1, and the scale's ends in words; one scale for all levels.
function scaleOf() {
  if (colouring === "count") {
    const most = new Map(levels.map(level => [level, Math.log(Math.max(2, ...level.counts))]));
    return {
      of: (level, code) => Math.log(Math.max(level.counts[code], 1)) / most.get(level),
      ends: ["rare", "frequent"],
      two: true,
    };
  }
  const values = levels
    .flatMap(level => [...level[colouring]].filter((_, code) => context(level, code)))
    .sort((one, other) => one - other);
  const pick = share => (values.length ? values[Math.floor(share * (values.length - 1))] : 0);
  const low = pick(0.03),
    high = Math.max(pick(0.97), low + 1e-6);
  const ends =
    colouring === "gc"
      ? [percent(low, 0), `${percent(high, 0)} G or C around`]
      : [low.toFixed(1), `${high.toFixed(1)} bits in the logo`];
  return {
    of: (level, code) => clamp((level[colouring][code] - low) / (high - low), 0, 1),
    ends,
    two: colouring === "bits",
  };
}
function coloursOf(level) {
  if (level.colours) return level.colours;
  level.colours = [];
  const scale = colouring === "centre" ? null : scaleOf();
  for (let code = 0; code < level.size; code++) {
    let colour = palette.none_rgb;
    if (scale === null) colour = level.centre[code] < 0 ? palette.none_rgb : palette.bases[level.centre[code]];
    else if (context(level, code)) {
      const share = scale.of(level, code);
      if (scale.two) colour = mix(palette.middle_rgb, palette.high_rgb, share);
      else
        colour =
          share < 0.5
            ? mix(palette.low_rgb, palette.middle_rgb, 2 * share)
            : mix(palette.middle_rgb, palette.high_rgb, 2 * share - 1);
    }
    level.colours.push(colour);
  }
  return level.colours;
}
function drawLegends() {
  for (const legend of document.querySelectorAll(".legend")) legend.replaceChildren(...legendParts());
}
function legendParts() {
  if (colouring === "centre") {
    const marks = [...BASES].map((base, at) => {
      const mark = el("span", {className: "swatch"});
      mark.style.background = css(palette.bases[at]);
      return el("span", {}, mark, base);
    });
    return [...marks, stride > 1 ? "commonest middle base of the code" : "commonest base at the code"];
  }
  const scale = scaleOf(),
    ramp = el("span", {className: "ramp"});
  ramp.style.background = `linear-gradient(to right, ${scale.two ? "" : `${palette.low}, `}${palette.middle}, ${palette.high})`;
  return [scale.ends[0], ramp, scale.ends[1]];
}
for (const select of document.querySelectorAll(".colours")) {
  for (const [value, text] of [
    ["gc", "G and C around"],
    ["centre", "own base"],
    ["bits", "information"],
    ["count", "count"],
  ])
    select.add(new Option(text, value));
  select.onchange = () => {
    colouring = select.value;
    for (const other of document.querySelectorAll(".colours")) other.value = colouring;
    for (const level of levels) level.colours = null;
    redraw();
  };
}

// ---------------------------------------------------------------------------------------------- overview

function overview() {
  find("name").textContent = data.name;
  const unit = stride > 1 ? `one code for ${stride} bases` : "one code a base";
  find("about").replaceChildren(
    `${data.kind}, ${levels.map(level => number.format(level.size)).join(" + ")} codes, ${unit}, ${data.objective} objective`,
    el("br"),
    `${data.genome}: ${number.format(data.sampled)} of ${number.format(data.bases)} bases in ${number.format(data.records)} record${data.records > 1 ? "s" : ""} sampled`,
  );
  const body = find("levels").tBodies[0];
  for (const [at, level] of levels.entries()) {
    const used = level.counts.filter(count => count > 0).length;
    const swatch = el("span", {className: `swatch fill-level${at + 1}`});
    const cells = [
      number.format(level.size),
      number.format(used),
      percent(level.usage),
      number.format(+level.perplexity.toFixed(1)),
      `block ${level.tap}`,
      `${2 * level.context + stride} bases`,
    ];
    body.append(
      el(
        "tr",
        {},
        el("th", {scope: "row"}, swatch, levels.length > 1 ? `${at + 1} ${levelName(at)}` : "1"),
        ...cells.map(text => el("td", {}, text)),
      ),
    );
  }
  find("foot").textContent = `vqdna_hf ${data.version}, seed ${data.seed}, codebooks ${data.sha256.slice(0, 12)}`;
}
// The least of 1, 2, 5, 10, 20 ... that is as large.
function niceStep(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].find(part => part * power >= raw * 0.999) * power;
}
function nice(low, high, count) {
  const step = niceStep((high - low) / count || 1),
    ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + 1e-9 * step; tick += step)
    ticks.push(+tick.toPrecision(12));
  return ticks;
}
function chart(figure, {title, note, series, yLabel, log, format = value => number.format(value), fromZero}) {
  const wide = Math.max(figure.clientWidth, 220),
    high = 190,
    below = 24,
    above = 8,
    right = 10;
  const all = series.flatMap(one => one.points);
  const xs = all.map(point => point[0]),
    ys = all.map(point => point[1]);
  const [x0, x1] = [Math.min(0, ...xs), Math.max(...xs, 1)];
  let [y0, y1] = [fromZero ? 0 : Math.min(...ys), Math.max(...ys)];
  if (log) [y0, y1] = [Math.floor(Math.log10(y0)), Math.ceil(Math.log10(y1))];
  if (y1 <= y0) y1 = y0 + 1;
  const yTicks = log ? Array.from({length: y1 - y0 + 1}, (_, at) => 10 ** (y0 + at)) : nice(y0, y1, 4);
  const left = 14 + 6.3 * Math.max(...yTicks.map(tick => format(tick).length));
  const px = x => left + ((x - x0) / (x1 - x0)) * (wide - left - right);
  const py = y => above + (1 - ((log ? Math.log10(y) : y) - y0) / (y1 - y0)) * (high - above - below);
  const picture = svg("svg", {viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${title}. ${note}`});
  for (const tick of yTicks) {
    picture.append(svg("line", {x1: left, x2: wide - right, y1: py(tick), y2: py(tick), class: "rule"}));
    picture.append(svg("text", {x: left - 6, y: py(tick) + 4, "text-anchor": "end"}, format(tick)));
  }
  const xTicks = nice(x0, x1, Math.max(2, Math.floor(wide / 90)));
  for (const tick of xTicks)
    picture.append(
      svg(
        "text",
        {x: px(tick), y: high - 8, "text-anchor": px(tick) > wide - right - 12 ? "end" : "middle"},
        number.format(tick),
      ),
    );
  for (const one of series) {
    const path = one.points
      .map((point, at) => `${at ? "L" : "M"}${px(point[0]).toFixed(1)} ${py(point[1]).toFixed(1)}`)
      .join("");
    picture.append(svg("path", {d: path, class: `curve of-level${one.level + 1}`}));
    if (one.points.length < 12)
      for (const point of one.points)
        picture.append(
          svg("circle", {cx: px(point[0]), cy: py(point[1]), r: 3, class: `dot of-level${one.level + 1}`}),
        );
  }
  const keys = series.map(one =>
    el(
      "span",
      {},
      svg(
        "svg",
        {viewBox: "0 0 26 8", "aria-hidden": "true"},
        svg("line", {x1: 0, x2: 26, y1: 4, y2: 4, class: `curve of-level${one.level + 1}`}),
      ),
      one.name,
    ),
  );
  figure.append(picture, el("div", {className: "key"}, ...(series.length > 1 ? keys : []), el("span", {}, yLabel)));
}
function charts() {
  const wanted = [];
  const ranks = levels
    .map((level, at) => {
      const sorted = [...level.counts].filter(count => count > 0).sort((one, other) => other - one);
      const kept =
        sorted.length > 240
          ? Array.from({length: 241}, (_, step) => Math.round((step * (sorted.length - 1)) / 240))
          : [...sorted.keys()];
      return {level: at, name: levelName(at), points: kept.map(rank => [rank + 1, sorted[rank] / level.total])};
    })
    .filter(one => one.points.length);
  wanted.push({
    title: "Share of each code by rank",
    note: `The commonest codes take ${ranks.map(one => percent(one.points[0][1], 2)).join(" and ")}.`,
    series: ranks,
    yLabel: "share of all codes, by rank",
    log: true,
    format: value => `${+(100 * value).toPrecision(2)}\u00a0%`,
  });
  const covered = levels.map((level, at) => {
    const sorted = [...level.counts].filter(count => count > 0).sort((one, other) => other - one),
      points = [[0, 0]];
    let sum = 0;
    for (const [rank, count] of sorted.entries()) {
      sum += count;
      if (rank % Math.ceil(sorted.length / 200) === 0 || rank === sorted.length - 1)
        points.push([rank + 1, sum / level.total]);
    }
    return {level: at, name: levelName(at), points};
  });
  wanted.push({
    title: "Covered by the commonest codes",
    note: `Half of all positions are covered by ${covered.map(one => number.format((one.points.find(point => point[1] >= 0.5) ?? [0])[0])).join(" and ")} codes.`,
    series: covered,
    yLabel: "share of positions, by number of codes",
    fromZero: true,
    format: value => percent(value, 0),
  });
  for (const [key, title, format] of [
    ["codebook_perplexity", "Perplexity over training"],
    ["codebook_usage", "Usage over training", value => percent(value, 0)],
  ]) {
    const measured = prefix =>
      levels
        .map((_, at) => {
          const name = `${prefix}${key}_level${at + 1}`;
          return {
            level: at,
            name: levelName(at),
            points: data.history.filter(entry => name in entry).map(entry => [entry.step, entry[name]]),
          };
        })
        .filter(one => one.points.length);
    const held = measured("eval_"),
      trained = measured(""),
      isHeld = held.some(one => one.points.length > 1) || !trained.length;
    const series = isHeld ? held : trained;
    if (series.length)
      wanted.push({
        title,
        note: `At the end ${series.map(one => one.points.at(-1)[1].toPrecision(3)).join(" and ")}.`,
        series,
        yLabel: isHeld ? "on held-out sequences, by step" : "in training batches, by step",
        fromZero: true,
        format,
      });
  }
  // All figures first: how many there are decides how wide each is.
  const figures = wanted.map(one => el("figure", {}, el("figcaption", {}, one.title)));
  find("charts").replaceChildren(...figures);
  for (const [at, one] of wanted.entries()) chart(figures[at], one);
  if (wanted.length < 3)
    find("charts").append(
      el(
        "p",
        {className: "help"},
        "The folder of the checkpoint holds no record of usage and perplexity over training.",
      ),
    );
}

// ---------------------------------------------------------------------------------------------- the region

const tracks = find("tracks"),
  canvas = tracks.querySelector("canvas");
let gutter = 66;
const LEAST = Math.min(12, width),
  MOST_ROWS = 10;
let view = {start: 0, end: width},
  cursor = {base: null, track: 0},
  chosen = null,
  layout = [],
  featureRows = null;

function packFeatures() {
  // One row after the other takes what does not overlap; genes first, so that they stand above their parts.
  const rank = kind =>
    ({gene: 0, pseudogene: 0, interval: 0, mRNA: 1, transcript: 1})[kind] ??
    (/gene$/.test(kind) ? 0 : /RNA$/.test(kind) ? 1 : 2);
  const rows = [];
  for (const feature of [...region.features].sort((one, other) => rank(one[3]) - rank(other[3]) || one[0] - other[0])) {
    const key = rank(feature[3]);
    let row = rows.find(one => one.key === key && one.end <= feature[0]);
    if (!row) rows.push((row = {key, end: 0, features: []}));
    row.features.push(feature);
    row.end = feature[1];
  }
  const left = rows.slice(MOST_ROWS).reduce((sum, row) => sum + row.features.length, 0);
  if (left) find("tracks-help").append(` Of the features, ${number.format(left)} are not drawn, for want of room.`);
  return rows.slice(0, MOST_ROWS);
}
// What is drawn, from top to bottom: forward levels, the bases, and the other strand's levels mirrored.
function layOut() {
  featureRows ??= packFeatures();
  layout = [];
  let y = 46 + 19 * featureRows.length + (featureRows.length ? 4 : 0);
  const add = (kind, high, more) => {
    layout.push({kind, y, high, ...more});
    y += high + 3;
  };
  for (const at of levels.keys()) add("codes", 26, {strand: "forward", level: at});
  y += 3;
  add("bases", 17, {strand: "forward"});
  add("bases", 17, {strand: "reverse"});
  y += 3;
  for (const at of [...levels.keys()].reverse()) add("codes", 26, {strand: "reverse", level: at});
  return y + 2;
}
function trackName({kind, strand, level}) {
  const isForward = strand === "forward";
  if (kind === "bases") return isForward ? "5\u2032\u21923\u2032" : "3\u2032\u21905\u2032";
  return `${levelName(level)} ${isForward ? "+" : "\u2212"}`;
}
const startOf = strand => region[`${strand}_start`] - region.start;
const codeAt = (strand, level, base) => region[strand][level][Math.floor((base - startOf(strand)) / stride)];
const baseAt = (base, strand) => {
  const letter = region.sequence[base];
  return strand === "forward" ? letter : ("TGCA"[BASES.indexOf(letter)] ?? "N");
};
function pen(target, high) {
  const ratio = devicePixelRatio || 1,
    wide = target.parentElement.clientWidth;
  if (target.width !== Math.round(wide * ratio) || target.height !== Math.round(high * ratio)) {
    target.width = Math.round(wide * ratio);
    target.height = Math.round(high * ratio);
    target.style.height = `${high}px`;
  }
  const ctx = target.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, wide, high);
  return [ctx, wide];
}
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';
const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';

function drawTracks() {
  const high = layOut(),
    [ctx, wide] = pen(canvas, high);
  ctx.font = FONT;
  gutter = Math.ceil(Math.max(...layout.map(track => ctx.measureText(trackName(track)).width))) + 10;
  const left = gutter,
    inner = wide - left;
  const scale = inner / (view.end - view.start),
    px = base => left + (base - view.start) * scale;
  ctx.textBaseline = "middle";
  drawStrip(ctx, left, inner);
  drawRuler(ctx, left, wide, scale, px);
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, 0, inner, high);
  ctx.clip();
  drawFeatures(ctx, left, wide, px);
  for (const track of layout) {
    if (track.kind === "bases") drawBases(ctx, track, scale, px);
    else if (stride * scale >= 2.5) drawCells(ctx, track, scale, px);
    else drawDense(ctx, track, left, inner, scale);
  }
  drawCursor(ctx, scale, px);
  ctx.restore();
  ctx.textAlign = "left";
  ctx.fillStyle = palette.soft;
  for (const track of layout) ctx.fillText(trackName(track), 0, track.y + track.high / 2 + 0.5);
  const first = region.start + Math.floor(view.start) + 1,
    last = region.start + Math.ceil(view.end);
  find("range").textContent =
    `${region.chrom}:${number.format(first)}\u2013${number.format(last)} (${number.format(last - first + 1)} bases)`;
  find("in").disabled = view.end - view.start <= LEAST + 1e-6;
  find("out").disabled = find("fit").disabled = view.end - view.start >= width - 1e-6;
  find("left").disabled = view.start <= 0;
  find("right").disabled = view.end >= width;
}
function drawStrip(ctx, left, inner) {
  ctx.fillStyle = palette.line;
  ctx.fillRect(left, 2, inner, 6);
  ctx.fillStyle = palette.accent;
  const wide = Math.max(((view.end - view.start) / width) * inner, 6);
  ctx.fillRect(left + Math.min((view.start / width) * inner, inner - wide), 2, wide, 6);
}
function drawRuler(ctx, left, wide, scale, px) {
  ctx.strokeStyle = palette.edge;
  ctx.fillStyle = palette.soft;
  ctx.textAlign = "center";
  const longest = number.format(region.end).length * 6.6 + 26;
  const step = Math.max(1, niceStep(longest / scale));
  ctx.beginPath();
  for (
    let place = Math.ceil((region.start + view.start) / step) * step;
    place <= region.start + view.end;
    place += step
  ) {
    const x = px(place - 1 - region.start + 0.5);
    if (x < left) continue;
    ctx.moveTo(x, 32);
    ctx.lineTo(x, 38);
    const text = number.format(place),
      half = ctx.measureText(text).width / 2;
    if (x - half >= left - 2 && x + half <= wide) ctx.fillText(text, x, 22);
  }
  ctx.moveTo(left, 38);
  ctx.lineTo(wide, 38);
  ctx.stroke();
}
function drawFeatures(ctx, left, wide, px) {
  for (const [row, {features}] of featureRows.entries()) {
    const y = 45 + 19 * row;
    for (const [start, end, strand, kind, name] of features) {
      const x0 = Math.max(px(start - region.start), left - 4),
        x1 = Math.min(px(end - region.start), wide + 4);
      if (x1 < left || x0 > wide) continue;
      const size = Math.max(x1 - x0, 1.5),
        head = strand === "." ? 0 : Math.min(7, size / 2);
      ctx.beginPath();
      if (strand === "+") {
        ctx.moveTo(x0, y);
        ctx.lineTo(x0 + size - head, y);
        ctx.lineTo(x0 + size, y + 7.5);
        ctx.lineTo(x0 + size - head, y + 15);
        ctx.lineTo(x0, y + 15);
      } else {
        ctx.moveTo(x0 + size, y);
        ctx.lineTo(x0 + head, y);
        ctx.lineTo(x0, y + 7.5);
        ctx.lineTo(x0 + head, y + 15);
        ctx.lineTo(x0 + size, y + 15);
      }
      ctx.closePath();
      ctx.fillStyle = palette.wash;
      ctx.fill();
      ctx.strokeStyle = palette.accent;
      ctx.stroke();
      ctx.textAlign = "left";
      ctx.fillStyle = palette.ink;
      const text = kind === "interval" ? name : name ? `${name} ${kind}` : kind;
      const from = Math.max(x0, left) + 9;
      if (ctx.measureText(text).width < Math.min(x1, wide) - from - 6) ctx.fillText(text, from, y + 8);
      else if (ctx.measureText(name || kind).width < Math.min(x1, wide) - from - 4)
        ctx.fillText(name || kind, from, y + 8);
    }
  }
}
function drawBases(ctx, track, scale, px) {
  const first = Math.floor(view.start),
    last = Math.min(Math.ceil(view.end), width);
  ctx.textAlign = "center";
  if (scale < 1.2) {
    ctx.fillStyle = palette.soft;
    if (track.strand === "forward")
      ctx.fillText("zoom in for bases", px((view.start + view.end) / 2), track.y + track.high + 2);
    return;
  }
  ctx.font = `600 ${Math.min(13, Math.max(9, scale * 1.1))}px ${MONO}`;
  for (let base = first; base < last; base++) {
    const letter = baseAt(base, track.strand),
      at = BASES.indexOf(letter);
    ctx.fillStyle = at < 0 ? palette.n : css(palette.bases[at]);
    if (scale >= 8.5) {
      ctx.fillRect(px(base) + 0.5, track.y + track.high - 3, scale - 1, 3);
      ctx.fillStyle = palette.ink;
      ctx.fillText(letter, px(base + 0.5), track.y + 7);
    } else ctx.fillRect(px(base), track.y + 3, Math.max(scale - (scale > 4 ? 1 : 0), 0.7), track.high - 6);
  }
  ctx.font = FONT;
}
function cellRange(track) {
  const offset = startOf(track.strand),
    codes = region[track.strand][track.level];
  return [
    Math.max(Math.floor((view.start - offset) / stride), 0),
    Math.min(Math.ceil((view.end - offset) / stride), codes.length),
    offset,
    codes,
  ];
}
function drawCells(ctx, track, scale, px) {
  const level = levels[track.level],
    colours = coloursOf(level),
    [first, last, offset, codes] = cellRange(track);
  const wide = stride * scale,
    gap = wide > 6 ? 1 : 0,
    numbered = wide > 6.1 * String(level.size - 1).length + 5;
  ctx.textAlign = "center";
  ctx.font = `10px ${MONO}`;
  for (let at = first; at < last; at++) {
    const code = codes[at],
      x = px(offset + at * stride),
      colour = code < 0 ? palette.none_rgb : colours[code];
    ctx.fillStyle = css(colour);
    ctx.fillRect(x + gap / 2, track.y, wide - gap, track.high);
    if (code < 0) continue;
    const mine = chosen && chosen.level === track.level && chosen.code === code;
    if (numbered) {
      ctx.fillStyle = inkOn(colour);
      ctx.fillText(code, x + wide / 2, track.y + track.high / 2 + 0.5);
    }
    if (mine) {
      ctx.strokeStyle = palette.ink;
      ctx.lineWidth = 2;
      ctx.strokeRect(x + 1, track.y + 1, Math.max(wide - 2, 1), track.high - 2);
      ctx.lineWidth = 1;
    }
  }
  ctx.font = FONT;
}
// Narrower than a few pixels, cells are averaged: one colour a pixel, and a mark where the chosen code stands.
function drawDense(ctx, track, left, inner, scale) {
  const level = levels[track.level],
    colours = coloursOf(level),
    offset = startOf(track.strand),
    codes = region[track.strand][track.level];
  for (let x = 0; x < inner; x++) {
    const first = clamp(Math.floor((view.start + x / scale - offset) / stride), 0, codes.length - 1);
    const last = clamp(Math.ceil((view.start + (x + 1) / scale - offset) / stride), first + 1, codes.length);
    const sum = [0, 0, 0];
    let marked = false,
      known = 0;
    for (let at = first; at < last; at++) {
      if (codes[at] < 0) continue;
      known++;
      for (const part of [0, 1, 2]) sum[part] += colours[codes[at]][part];
      marked ||= chosen && chosen.level === track.level && chosen.code === codes[at];
    }
    ctx.fillStyle = known ? css(sum.map(value => Math.round(value / known))) : palette.none;
    ctx.fillRect(left + x, track.y, 1.2, track.high);
    if (marked) {
      ctx.fillStyle = palette.ink;
      ctx.fillRect(left + x, track.strand === "forward" ? track.y : track.y + track.high - 7, 2, 7);
    }
  }
}
function drawCursor(ctx, scale, px) {
  if (cursor.base === null) return;
  const top = layout[0].y - 4,
    bottom = layout.at(-1).y + layout.at(-1).high + 2,
    wide = Math.max(scale, 1.5);
  ctx.strokeStyle = palette.ink;
  ctx.strokeRect(px(cursor.base), top, wide, bottom - top);
  const track = layout[cursor.track];
  ctx.fillStyle = palette.ink;
  ctx.beginPath();
  const x = px(cursor.base) - 3,
    y = track.y + track.high / 2;
  ctx.moveTo(x, y);
  ctx.lineTo(x - 6, y - 4);
  ctx.lineTo(x - 6, y + 4);
  ctx.fill();
}
let waiting = false;
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawTracks();
  });
}
function show(start, end) {
  const span = clamp(end - start, LEAST, width);
  start = clamp((start + end) / 2 - span / 2, 0, width - span);
  view = {start, end: start + span};
  later();
}
function zoom(factor, around = (view.start + view.end) / 2) {
  const span = clamp((view.end - view.start) * factor, LEAST, width),
    share = (around - view.start) / (view.end - view.start);
  show(around - share * span, around + (1 - share) * span);
}
const pan = share => {
  const by = share * (view.end - view.start);
  show(view.start + by, view.end + by);
};
const pointed = event => {
  const box = canvas.getBoundingClientRect(),
    left = gutter;
  return {
    base: view.start + ((event.clientX - box.left - left) / (box.width - left)) * (view.end - view.start),
    y: event.clientY - box.top,
    x: event.clientX - box.left - left,
  };
};
function read() {
  if (cursor.base === null) return;
  const base = cursor.base,
    parts = strand =>
      levels
        .map((_, at) => {
          const code = codeAt(strand, at, base);
          return code < 0 || code === undefined ? "none" : codeName(at, code);
        })
        .join(" ");
  const inside = region.features
    .filter(one => one[0] <= base + region.start && one[1] > base + region.start)
    .map(one => (one[4] ? `${one[4]}${one[3] === "interval" ? "" : ` ${one[3]}`}` : one[3]));
  find("readout").textContent =
    `${region.chrom}:${number.format(region.start + base + 1)} ${region.sequence[base]}, forward ${parts("forward")}, reverse ${parts("reverse")}${inside.length ? `, in ${[...new Set(inside)].slice(0, 4).join(", ")}` : ""}`;
}
function openAtCursor() {
  const track = layout[cursor.track];
  if (track.kind !== "codes" || cursor.base === null) return;
  const code = codeAt(track.strand, track.level, cursor.base);
  if (code >= 0) choose(track.level, code, true);
}
function trackKeys(event) {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key],
    up = {ArrowUp: -1, ArrowDown: 1}[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (step && event.shiftKey) pan(step / 4);
  else if (step) {
    const by = Math.max(1, Math.round((view.end - view.start) / 400));
    cursor.base = clamp((cursor.base ?? Math.round((view.start + view.end) / 2)) + step * by, 0, width - 1);
    if (cursor.base < view.start || cursor.base + 1 > view.end) {
      const span = view.end - view.start;
      show(cursor.base + 0.5 - span / 2, cursor.base + 0.5 + span / 2);
    }
  } else if (up) {
    do cursor.track = (cursor.track + up + layout.length) % layout.length;
    while (layout[cursor.track].kind !== "codes");
    cursor.base ??= Math.round((view.start + view.end) / 2);
  } else if (event.key === "+" || event.key === "=") zoom(0.5, cursor.base === null ? undefined : cursor.base + 0.5);
  else if (event.key === "-" || event.key === "_") zoom(2, cursor.base === null ? undefined : cursor.base + 0.5);
  else if (event.key === "Home") show(0, view.end - view.start);
  else if (event.key === "End") show(width - (view.end - view.start), width);
  else if (event.key === "0") show(0, width);
  else if (event.key === "Enter") openAtCursor();
  else return;
  event.preventDefault();
  read();
  later();
}
const fingers = new Map();
let grip = null;
function trackPointers() {
  tracks.addEventListener("keydown", trackKeys);
  tracks.addEventListener(
    "wheel",
    event => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        zoom(Math.exp(clamp(event.deltaY, -80, 80) / 160), pointed(event).base);
      } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        pan(event.deltaX / canvas.clientWidth);
      }
    },
    {passive: false},
  );
  tracks.addEventListener("dblclick", event => zoom(0.4, pointed(event).base));
  tracks.addEventListener("pointerdown", event => {
    fingers.set(event.pointerId, event);
    tracks.setPointerCapture(event.pointerId);
    grip = {x: event.clientX, view: {...view}, moved: false, strip: pointed(event).y < 13, spread: spread()};
  });
  tracks.addEventListener("pointermove", event => {
    if (!fingers.has(event.pointerId)) {
      hover(event);
      return;
    }
    fingers.set(event.pointerId, event);
    const inner = canvas.clientWidth - gutter,
      span = grip.view.end - grip.view.start;
    if (fingers.size > 1 && grip.spread) {
      const wanted = clamp((span * grip.spread) / Math.max(spread(), 10), LEAST, width),
        middle = (grip.view.start + grip.view.end) / 2;
      grip.moved = true;
      show(middle - wanted / 2, middle + wanted / 2);
      return;
    }
    const by = event.clientX - grip.x;
    if (Math.abs(by) > 4) grip.moved = true;
    if (!grip.moved) return;
    tracks.classList.add("dragging");
    const bases = grip.strip ? (by / inner) * width : (-by / inner) * span;
    show(grip.view.start + bases, grip.view.end + bases);
  });
  for (const name of ["pointerup", "pointercancel"])
    tracks.addEventListener(name, event => {
      fingers.delete(event.pointerId);
      tracks.classList.remove("dragging");
      if (name === "pointerup" && grip && !grip.moved && !fingers.size) {
        hover(event);
        openAtCursor();
      }
      if (!fingers.size) grip = null;
    });
}
function spread() {
  const [one, other] = [...fingers.values()];
  return other ? Math.abs(one.clientX - other.clientX) : 0;
}
function hover(event) {
  const at = pointed(event),
    track = layout.findIndex(one => at.y >= one.y - 2 && at.y < one.y + one.high + 2);
  if (at.x < 0 || at.base >= width) return;
  cursor = {base: clamp(Math.floor(at.base), 0, width - 1), track: track < 0 ? cursor.track : track};
  read();
  later();
}
function goTo(text) {
  const match = /^(?:.*:)?\s*([\d,.\s]+?)(?:\s*[-\u2013]\s*([\d,.\s]+))?\s*$/.exec(text),
    digits = part => +part.replace(/[^\d]/g, "");
  if (!match) return false;
  const first = digits(match[1]) - 1 - region.start,
    last = match[2] ? digits(match[2]) - region.start : first + 60;
  if (last <= 0 || first >= width || last <= first) return false;
  show(match[2] ? first : first - 60, last);
  return true;
}

// ---------------------------------------------------------------------------------------------- the list of codes

const PAGE = 40;
let matches = [],
  shown = 0,
  regionCodes = null;

function motifOf(text) {
  if (!/^[ACGTURYSWKMBDHVN]+$/.test(text)) return null;
  const sets = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) sets[at] = SETS[text[at]];
  return sets;
}
// A C G T are the bits 1 2 4 8: the complement reads them backwards.
const complement = set => ((set & 1) << 3) | ((set & 2) << 1) | ((set & 4) >> 1) | ((set & 8) >> 3);
function holds(sets, motif) {
  for (let at = 0; at + motif.length <= sets.length; at++) {
    let fits = true;
    for (let place = 0; place < motif.length && fits; place++) fits = (sets[at + place] & ~motif[place]) === 0;
    if (fits) return true;
  }
  return false;
}
function codesInRegion() {
  regionCodes ??= levels.map((_, at) => new Set([...region.forward[at], ...region.reverse[at]]));
  return regionCodes;
}
function filterCodes() {
  const text = find("query").value.trim().toUpperCase(),
    id = /^(?:L?(\d+)[.:])?(\d+)$/.exec(text),
    motif = motifOf(text);
  const invalid = text !== "" && !id && !motif;
  find("query").setAttribute("aria-invalid", invalid);
  const motifs = motif ? [motif, ...(find("both").checked ? [motif.map(complement).reverse()] : [])] : [];
  const least = Math.max(+find("least").value || 0, 0),
    only = find("level").value,
    inside = find("inside").checked && codesInRegion();
  matches = [];
  for (const [at, level] of levels.entries()) {
    if ((only !== "" && +only !== at) || invalid) continue;
    for (let code = 0; code < level.size; code++) {
      if (level.counts[code] < least || (inside && !inside[at].has(code))) continue;
      if (id && (+id[2] !== code || (id[1] && +id[1] !== at + 1))) continue;
      if (motifs.length && !motifs.some(one => holds(level.sets[code], one))) continue;
      matches.push([at, code]);
    }
  }
  const order = {
    count: (at, code) => -levels[at].counts[code] / levels[at].total,
    rare: (at, code) => levels[at].counts[code] / levels[at].total,
    bits: (at, code) => -levels[at].bits[code],
    id: () => 0,
  }[find("sort").value];
  matches = matches
    .map(pair => [order(...pair), ...pair])
    .sort((one, other) => one[0] - other[0])
    .map(entry => entry.slice(1));
  find("found").textContent = invalid
    ? "neither a motif of IUPAC letters nor a number"
    : `${number.format(matches.length)} of ${number.format(levels.reduce((sum, level) => sum + level.size, 0))}`;
  const none = el("tr", {}, el("td", {colSpan: 5, className: "gap"}, "No code fits."));
  find("list").tBodies[0].replaceChildren(...(matches.length ? [] : [none]));
  shown = 0;
  showMore();
}
function showMore() {
  const end = Math.min(shown + PAGE, matches.length),
    rows = [];
  for (; shown < end; shown++) {
    const [at, code] = matches[shown],
      level = levels[at];
    const button = el("button", {type: "button", onclick: () => choose(at, code, true)}, codeName(at, code));
    const logo = el("td");
    if (context(level, code)) {
      const picture = drawLogo(level, code, 300, 34, false);
      picture.setAttribute("class", "mini");
      logo.append(picture);
    }
    const row = el(
      "tr",
      {},
      el("td", {}, button),
      logo,
      el("td", {}, ...consensusNodes(level, code)),
      el("td", {className: "number"}, number.format(level.counts[code])),
      el("td", {className: "number narrow"}, level.bits[code].toFixed(1)),
    );
    row.dataset.code = codeName(at, code);
    row.classList.toggle("chosen", !!chosen && chosen.level === at && chosen.code === code);
    rows.push(row);
  }
  find("list").tBodies[0].append(...rows);
  find("more").hidden = shown >= matches.length;
}

// ---------------------------------------------------------------------------------------------- the map

const plane = find("points"),
  plate = plane.querySelector("canvas");
let mapLevel = levels.length - 1,
  spots = [],
  mapCursor = null;

function drawMap() {
  const level = levels[mapLevel],
    colours = coloursOf(level),
    used = [...level.counts.keys()].filter(code => level.counts[code] > 0);
  const high = Math.round(clamp(plane.clientWidth * 0.62, 300, 480)),
    [ctx, wide] = pen(plate, high),
    edge = 18;
  const ends = axis => {
    const values = used.map(code => level.places[2 * code + axis]);
    const low = Math.min(...values),
      top = Math.max(...values);
    return [low, top > low ? top : low + 1];
  };
  const [x0, x1] = ends(0),
    [y0, y1] = ends(1),
    scale = Math.min((wide - 2 * edge) / (x1 - x0), (high - 2 * edge) / (y1 - y0));
  const px = x => wide / 2 + (x - (x0 + x1) / 2) * scale,
    py = y => high / 2 - (y - (y0 + y1) / 2) * scale;
  const most = Math.max(...level.counts, 1),
    crowd = clamp(Math.sqrt(200 / Math.max(used.length, 1)), 0.35, 1);
  spots = Array.from(level.counts, (count, code) => ({
    code,
    x: px(level.places[2 * code]),
    y: py(level.places[2 * code + 1]),
    r: count ? 1.6 + 13 * crowd * clamp(wide / 700, 0.6, 1) * Math.sqrt(count / most) : 2,
  }));
  ctx.strokeStyle = palette.line;
  ctx.strokeRect(0.5, 0.5, wide - 1, high - 1);
  ctx.strokeStyle = palette.soft;
  for (const spot of spots.filter(one => !level.counts[one.code])) {
    ctx.beginPath();
    ctx.moveTo(spot.x - 2, spot.y - 2);
    ctx.lineTo(spot.x + 2, spot.y + 2);
    ctx.moveTo(spot.x + 2, spot.y - 2);
    ctx.lineTo(spot.x - 2, spot.y + 2);
    ctx.globalAlpha = 0.5;
    ctx.stroke();
  }
  ctx.globalAlpha = 0.88;
  for (const code of used.sort((one, other) => level.counts[other] - level.counts[one])) {
    const spot = spots[code];
    ctx.beginPath();
    ctx.arc(spot.x, spot.y, spot.r, 0, 7);
    ctx.fillStyle = css(colours[code]);
    ctx.fill();
    ctx.lineWidth = 0.7;
    ctx.strokeStyle = palette.edge;
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
  const ring = (code, colour, more) => {
    const spot = spots[code];
    ctx.beginPath();
    ctx.arc(spot.x, spot.y, spot.r + more, 0, 7);
    ctx.lineWidth = 2;
    ctx.strokeStyle = colour;
    ctx.stroke();
  };
  if (chosen && chosen.level === mapLevel) {
    for (const near of neighboursOf(level, chosen.code)) ring(near.code, palette.accent, 3);
    ring(chosen.code, palette.ink, 4);
  }
  if (mapCursor !== null) label(ctx, spots[mapCursor], level, wide, ring);
  ctx.lineWidth = 1;
  find("variance").textContent =
    `PC 1 holds ${percent(level.variance[0])} of the variance, PC 2 ${percent(level.variance[1])}`;
}
function label(ctx, spot, level, wide, ring) {
  ring(spot.code, palette.ink, 2);
  const text = `${codeName(mapLevel, spot.code)}  ${trimmed(level, spot.code).text.replaceAll("N", "\u00b7") || "any"}`;
  ctx.font = `12px ${MONO}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  const long = ctx.measureText(text).width + 12,
    x = clamp(spot.x + 10, 4, wide - long - 4),
    y = Math.max(spot.y - 18, 14);
  ctx.fillStyle = palette.ink;
  ctx.fillRect(x, y - 10, long, 20);
  ctx.fillStyle = palette.surface;
  ctx.fillText(text, x + 6, y + 1);
}
function neighboursOf(level, code) {
  const found = [],
    each = level.neighbours.length / level.size;
  for (let at = code * each; at < (code + 1) * each; at++)
    if (level.neighbours[at] >= 0) found.push({code: level.neighbours[at], distance: level.distances[at]});
  return found;
}
function nearestSpot(x, y, fits = () => true) {
  let best = null,
    least = Infinity;
  for (const spot of spots) {
    if (!levels[mapLevel].counts[spot.code] || !fits(spot)) continue;
    const far = Math.hypot(spot.x - x, spot.y - y) - spot.r;
    if (far < least) [best, least] = [spot, far];
  }
  return least < 40 || fits.length ? best : null;
}
function mapPointers() {
  const at = event => {
    const box = plate.getBoundingClientRect();
    return nearestSpot(event.clientX - box.left, event.clientY - box.top);
  };
  plane.addEventListener("pointermove", event => {
    mapCursor = at(event)?.code ?? null;
    drawMap();
  });
  plane.addEventListener("pointerleave", () => {
    mapCursor = null;
    drawMap();
  });
  plane.addEventListener("click", event => {
    const spot = at(event);
    if (spot) choose(mapLevel, spot.code, true);
  });
  plane.addEventListener("keydown", event => {
    const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    const from = spots[mapCursor ?? (chosen && chosen.level === mapLevel ? chosen.code : 0)];
    if (way) {
      const next = nearestSpot(from.x + 12 * way[0], from.y + 12 * way[1], spot => {
        const dx = spot.x - from.x,
          dy = spot.y - from.y,
          along = dx * way[0] + dy * way[1];
        return along > 0.5 && along >= Math.abs(dx * way[1] + dy * way[0]);
      });
      if (next) {
        mapCursor = next.code;
        plane.setAttribute(
          "aria-label",
          `Map of code vectors: ${codeName(mapLevel, next.code)}, ${spoken(levels[mapLevel], next.code)}`,
        );
      }
    } else if (event.key === "Enter" && mapCursor !== null) choose(mapLevel, mapCursor, true);
    else return;
    event.preventDefault();
    drawMap();
  });
}

// ---------------------------------------------------------------------------------------------- one code

function choose(at, code, open) {
  const level = levels[at];
  chosen = {level: at, code};
  find("detail-title").textContent = `Code ${codeName(at, code)}`;
  find("detail-consensus").replaceChildren(...consensusNodes(level, code));
  const seen = context(level, code);
  const share = level.counts[code] / (level.total || 1),
    rank = level.counts.filter(count => count > level.counts[code]).length + 1;
  const facts = [
    ["Occurrences", number.format(level.counts[code])],
    ["Share", `${percent(share, 3)}, rank ${number.format(rank)}`],
    ["In the logo", number.format(level.occurrences[code])],
    ["Information", `${level.bits[code].toFixed(2)} bits`],
    ["G and C around", seen ? percent(level.gc[code]) : "none"],
  ];
  find("facts").replaceChildren(...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  find("neighbours").replaceChildren(
    ...neighboursOf(level, code).map(near =>
      el(
        "li",
        {},
        el("button", {type: "button", onclick: () => choose(at, near.code, true)}, codeName(at, near.code)),
        el("code", {}, trimmed(level, near.code).text.replaceAll("N", "\u00b7") || "any"),
        el("span", {}, near.distance.toPrecision(3)),
      ),
    ),
  );
  listPlaces(at, code);
  for (const row of find("list").tBodies[0].rows)
    row.classList.toggle("chosen", row.dataset.code === codeName(at, code));
  if (open) {
    find("detail").classList.add("open");
    find("detail").scrollTop = 0;
    if (mapLevel !== at) {
      mapLevel = at;
      find("map-level").value = at;
    }
  }
  // Last, since only what is open has a width.
  const wide = find("logo").clientWidth || 320;
  find("logo").replaceChildren(
    seen
      ? drawLogo(level, code, wide, 150, true)
      : el("p", {className: "help"}, "The sample has no occurrence of this code with known bases all around."),
  );
  find("columns").hidden = !seen;
  find("columns").textContent = allColumns ? "Only positions that say something" : `All ${level.columns} positions`;
  later();
  drawMap();
}
function listPlaces(at, code) {
  const places = [];
  for (const strand of ["forward", "reverse"]) {
    region[strand][at].forEach((found, place) => {
      if (found === code)
        places.push({start: startOf(strand) + place * stride, sign: strand === "forward" ? "+" : "\u2212"});
    });
  }
  places.sort((one, other) => one.start - other.start);
  find("places-count").textContent = `(${number.format(places.length)})`;
  const items = places
    .slice(0, 60)
    .map(place =>
      el(
        "li",
        {},
        el(
          "button",
          {type: "button", onclick: () => goPlace(place)},
          `${number.format(region.start + Math.max(place.start, 0) + 1)} ${place.sign}`,
        ),
      ),
    );
  if (places.length > 60)
    items.push(el("li", {className: "wide"}, `and ${number.format(places.length - 60)} more, marked in the tracks`));
  if (!places.length) items.push(el("li", {className: "wide"}, "none"));
  find("places").replaceChildren(...items);
}
function goPlace(place) {
  const span = Math.min(view.end - view.start, 40 * stride);
  cursor.base = clamp(place.start, 0, width - 1);
  show(place.start + stride / 2 - span / 2, place.start + stride / 2 + span / 2);
  read();
  find("region").scrollIntoView({behavior: CALM.matches ? "auto" : "smooth", block: "start"});
  if (!WIDE.matches) closeDetail();
}
function closeDetail() {
  find("detail").classList.remove("open");
}

// ---------------------------------------------------------------------------------------------- notes and start

function notes() {
  const cut = levels.filter(level => level.shown < level.context);
  const unit = stride > 1 ? `the ${stride} bases that the code stands for` : "the code's own base";
  const texts = [
    `${levels.map((level, at) => `Codes of level ${at + 1} are tapped after block ${level.tap} and see ${2 * level.context + stride} bases.`).join(" ")}`,
    `Usage and logos come from windows of the forward strand drawn at random: ${number.format(data.sampled)} bases, seed ${data.seed}. Codes are named level.number. Perplexity is the number of equally frequent codes that would have the same entropy.`,
    `A logo shows the bases around all occurrences of a code in the sample, position 0 being ${stride > 1 ? "the first of " : ""}${unit} (shaded). The height of a column is its information, 2 bits less the entropy and less 3 / (2 ln 2 n) for the n occurrences, which few bases would show by chance; letters share it by frequency. Occurrences near N or the ends of a record are left out.`,
    ...(cut.length
      ? [
          `Logos show ${cut.map(level => `${2 * level.shown + stride} of the ${2 * level.context + stride} bases`).join(" and ")} that a code sees, so that the page stays small.`,
        ]
      : []),
    "The consensus names one base where it is more than half and more than twice the next, two where they are more than three quarters together, three where the fourth never occurs; a dot is any base. The code's own place is underlined.",
    `Tracks above the bases read the forward strand. Those below read the reverse complement, each code standing under the bases that it stands for, so that a code which means the same on both strands stands in both halves.${stride > 1 ? ` Each strand's codes are counted in patches of ${stride} bases from where the region begins on that strand.` : ""}`,
    "When zoomed out, each pixel shows the mean colour of its codes. Black or white ticks mark the code on show.",
  ];
  find("notes").replaceChildren(...texts.map(text => el("p", {}, text)));
}
const dark = () =>
  (document.documentElement.dataset.theme ??
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function themed() {
  find("theme").textContent = dark() ? "Light theme" : "Dark theme";
  readPalette();
  redraw();
  if (chosen) choose(chosen.level, chosen.code, false);
}
function redraw() {
  drawTracks();
  drawMap();
  drawLegends();
}
function start() {
  overview();
  notes();
  find("region-name").textContent = region.name;
  for (const [at, level] of levels.entries()) {
    const text = levels.length > 1 ? `${at + 1} ${levelName(at)}` : "1";
    find("level").add(new Option(text, at));
    find("map-level").add(new Option(`${text} (${number.format(level.size)})`, at));
  }
  find("level").add(new Option("all", ""), 0);
  find("level").value = "";
  find("map-level").value = mapLevel;
  for (const select of document.querySelectorAll(".colours")) select.value = colouring;
  find("theme").onclick = () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    themed();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
  find("left").onclick = () => pan(-0.5);
  find("right").onclick = () => pan(0.5);
  find("in").onclick = () => zoom(0.5);
  find("out").onclick = () => zoom(2);
  find("fit").onclick = () => show(0, width);
  find("go").onsubmit = event => {
    event.preventDefault();
    find("place").setAttribute("aria-invalid", !goTo(find("place").value));
  };
  find("place").placeholder =
    `${number.format(region.start + 1)}-${number.format(region.start + Math.min(width, 100))}`;
  find("filter").onsubmit = event => event.preventDefault();
  for (const id of ["query", "level", "least", "sort", "both", "inside"]) find(id).oninput = filterCodes;
  find("more").onclick = showMore;
  find("map-level").onchange = () => {
    mapLevel = +find("map-level").value;
    mapCursor = null;
    drawMap();
  };
  find("columns").onclick = () => {
    allColumns = !allColumns;
    choose(chosen.level, chosen.code, false);
  };
  find("close").onclick = closeDetail;
  addEventListener("keydown", event => {
    if (event.key === "Escape") closeDetail();
  });
  trackPointers();
  mapPointers();
  themed();
  charts();
  filterCodes();
  const top = matches[0];
  if (top) choose(...top, false);
  let before = innerWidth;
  addEventListener("resize", () => {
    redraw();
    if (innerWidth !== before) {
      before = innerWidth;
      charts();
      if (chosen) choose(chosen.level, chosen.code, false);
    }
  });
}
start();
