// Which rows are shown and in which order; histograms, in which a click or a drag chooses a range.

const { roles } = report;
const chosen = { query: '', sort: 'id', descending: false, ranges: new Map(), pair: 0 };
const listeners = [];
let shownRows = [];

for (const row of report.rows) {
  const flags = roles.flags.filter((name, at) => row.flags[at]);
  row.words = [row.id, ...row.texts.filter(Boolean), ...flags].join('\n').toLowerCase();
}

const scoreOf = (row, name) => row.numbers[roles.numbers.indexOf(name)];

function compared(a, b) {
  if (chosen.sort === 'id') return a.id.localeCompare(b.id, 'en', { numeric: true });
  const [one, other] = [scoreOf(a, chosen.sort), scoreOf(b, chosen.sort)];
  if (one === null || other === null) return (one === null) - (other === null);
  return one - other;
}

function fits(row) {
  const words = chosen.query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.every((word) => row.words.includes(word))) return false;
  for (const [name, [low, high]] of chosen.ranges) {
    const value = scoreOf(row, name);
    if (value === null || value < low || value > high) return false;
  }
  return true;
}

function refresh() {
  const missing = (row) => chosen.sort !== 'id' && scoreOf(row, chosen.sort) === null;
  const sign = chosen.descending ? -1 : 1;
  shownRows = report.rows.filter(fits).sort((a, b) => (missing(a) || missing(b) ? compared(a, b) : sign * compared(a, b)));
  for (const listener of listeners) listener();
}

function setRange(name, range) {
  if (range) chosen.ranges.set(name, range);
  else chosen.ranges.delete(name);
  refresh();
}

// One histogram: bars for the pointer, two fields for the keyboard, both set the same range.
function histogram(name, told) {
  const { edges, counts } = told;
  const most = Math.max(...counts);
  const wide = 100 / counts.length;
  const bars = counts.map((count, at) => {
    const high = count ? Math.max((count / most) * 46, 1) : 0;
    return s('rect', { x: at * wide + wide * 0.08, width: wide * 0.84, y: 48 - high, height: high, rx: 0.6 });
  });
  const median = ((told.median - edges[0]) / (edges.at(-1) - edges[0])) * 100;
  const svg = s(
    'svg',
    {
      viewBox: '0 0 100 50', preserveAspectRatio: 'none', role: 'img',
      'aria-label': `${titled(name)}: ${number(edges[0])} to ${number(edges.at(-1))}, median ${number(told.median)}`,
    },
    bars,
    s('line', { class: 'median', x1: median, x2: median, y1: 0, y2: 48, 'vector-effect': 'non-scaling-stroke' }),
  );
  const tip = h('p', { class: 'tip', 'aria-hidden': 'true' });
  const field = (label) => h('input', { type: 'number', step: 'any', 'aria-label': `${titled(name)} ${label}`, placeholder: label });
  const [low, high] = [field('from'), field('to')];
  const clear = h('button', { type: 'button', class: 'quiet', 'aria-label': `Show all ${titled(name)}`, onclick: () => setRange(name, null) }, 'All');
  const box = h(
    'div',
    { class: 'histogram', role: 'group', 'aria-label': titled(name) },
    h('h3', {}, titled(name)),
    svg,
    tip,
    h('div', { class: 'range' }, low, h('span', { 'aria-hidden': 'true' }, 'to'), high, clear),
  );

  const about = `mean ${number(told.mean)}, median ${number(told.median)}${told.missing ? `, ${plural(told.missing, 'row')} without` : ''}`;
  const typed = () => {
    const range = [low.value === '' ? -Infinity : Number(low.value), high.value === '' ? Infinity : Number(high.value)];
    setRange(name, low.value === '' && high.value === '' ? null : range);
  };
  low.addEventListener('change', typed);
  high.addEventListener('change', typed);

  const binAt = (event) => {
    const place = svg.getBoundingClientRect();
    return Math.min(counts.length - 1, Math.max(0, Math.floor(((event.clientX - place.left) / place.width) * counts.length)));
  };
  const between = (first, last) => [edges[Math.min(first, last)], edges[Math.max(first, last) + 1]];
  let start = null;
  svg.addEventListener('pointerdown', (event) => { start = binAt(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener('pointermove', (event) => {
    const at = binAt(event);
    tip.textContent = `${number(edges[at])} to ${number(edges[at + 1])}: ${plural(counts[at], 'row')}`;
    if (start !== null && at !== start) setRange(name, between(start, at));
  });
  svg.addEventListener('pointerup', (event) => {
    const range = between(start ?? binAt(event), binAt(event));
    const now = chosen.ranges.get(name);
    const again = start === binAt(event) && now && now[0] === range[0] && now[1] === range[1];
    start = null;
    setRange(name, again ? null : range);
  });
  svg.addEventListener('pointerleave', () => { tip.textContent = about; });
  tip.textContent = about;

  listeners.push(() => {
    const range = chosen.ranges.get(name);
    box.classList.toggle('chosen', Boolean(range));
    clear.hidden = !range;
    bars.forEach((bar, at) => bar.classList.toggle('out', Boolean(range) && (edges[at + 1] <= range[0] || edges[at] >= range[1])));
    low.value = range && Number.isFinite(range[0]) ? String(Number(range[0].toPrecision(6))) : '';
    high.value = range && Number.isFinite(range[1]) ? String(Number(range[1].toPrecision(6))) : '';
  });
  return box;
}

function overWhat(told) {
  if (told.parts === told.of_parts) return `Histograms are over all ${plural(told.rows, 'row')}.`;
  return `Histograms are over ${plural(told.rows, 'row')}, ${whole.format(told.parts)} of ${plural(told.of_parts, 'part')}.`;
}

function scores() {
  const told = report.histograms;
  const names = Object.keys(told.of);
  the('scores').hidden = !names.length;
  the('scores').append(
    ...names.map((name) => histogram(name, told.of[name])),
    h('p', { class: 'note' }, `${overWhat(told)} Click a bar, or drag over some, to see only such rows.`),
  );
}
