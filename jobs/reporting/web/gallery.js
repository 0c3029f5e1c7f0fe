// The rows as cards: before, mask and after side by side; the pointer over "after" wipes to "before".

const CHUNK = 48;
let drawn = 0;

const encodedOf = (row, column) => report.pictures[row.pictures[roles.pictures.indexOf(column)]];
const textOf = (row, column) => (column ? row.texts[roles.texts.indexOf(column)] : null);
const pairOf = () => roles.pairs[chosen.pair];

function tile(row, column, label, over) {
  const encoded = encodedOf(row, column);
  const beneath = encoded ? crisp(picture(encoded, `${label}: ${titled(column)}`)) : h('span', { class: 'none' }, 'no picture');
  const above = encoded && over && encodedOf(row, over);
  const box = h('span', { class: above ? 'tile wipe' : 'tile' }, beneath, above && crisp(picture(above, '')), h('span', { class: 'label' }, label));
  if (above) {
    box.addEventListener('pointermove', (event) => {
      const place = box.getBoundingClientRect();
      box.style.setProperty('--cut', `${Math.max(0, ((event.clientX - place.left) / place.width) * 100)}%`);
    });
    box.addEventListener('pointerleave', () => box.style.removeProperty('--cut'));
  }
  return box;
}

function tiles(row, pair) {
  if (!pair) return null;
  const shown = [[pair.before, 'before'], [pair.mask, 'mask'], [pair.after, pair.before ? 'after' : titled(pair.after), pair.before]];
  const there = shown.filter(([column]) => column);
  return h('span', { class: 'tiles', vars: { '--tiles': there.length } }, there.map(([column, label, over]) => tile(row, column, label, over)));
}

function captions(row, pair) {
  const before = textOf(row, pair && pair.text);
  const after = textOf(row, pair && pair.prompt) ?? (pair && pair.prompt ? null : row.texts.find(Boolean));
  if (!before && !after) return null;
  return h('span', { class: 'words' }, before && h('span', { class: 'was' }, before), after && h('span', { class: 'is' }, after));
}

function figures(row) {
  const flags = roles.flags.filter((name, at) => row.flags[at]);
  const scored = roles.numbers.map((name, at) => [name, row.numbers[at]]).filter(([, value]) => value !== null);
  const first = scored.filter(([name]) => name === chosen.sort);
  const kept = [...first, ...scored.filter(([name]) => name !== chosen.sort)].slice(0, 6);
  if (!kept.length && !flags.length) return null;
  return h(
    'span',
    { class: 'chips' },
    flags.map((name) => h('span', { class: 'chip flag' }, titled(name))),
    kept.map(([name, value]) => h('span', { class: name === chosen.sort ? 'chip sorted' : 'chip' }, titled(name), ' ', h('b', {}, number(value)))),
  );
}

function card(row, at) {
  const pair = pairOf();
  const attributes = { type: 'button', class: 'card', tabindex: at ? '-1' : '0', onclick: () => openRow(at), onfocus: (event) => rove(event.currentTarget) };
  const body = [tiles(row, pair), captions(row, pair), figures(row), h('span', { class: 'id' }, row.id)];
  return h('li', {}, h('button', { ...attributes, 'aria-haspopup': 'dialog' }, body));
}

function more() {
  const next = shownRows.slice(drawn, drawn + CHUNK).map((row, at) => card(row, drawn + at));
  drawn += next.length;
  the('gallery').append(...next);
}

const cards = () => [...the('gallery').querySelectorAll('.card')];

function rove(current) {
  for (const one of the('gallery').querySelectorAll('.card[tabindex="0"]')) one.tabIndex = -1;
  current.tabIndex = 0;
}

function focusCard(at) {
  while (at >= drawn && drawn < shownRows.length) more();
  const target = cards()[Math.max(0, Math.min(at, drawn - 1))];
  if (target) {
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: 'nearest' });
  }
}

function perLine() {
  const all = cards();
  const next = all.findIndex((one) => one.offsetTop !== all[0].offsetTop);
  return next < 1 ? Math.max(all.length, 1) : next;
}

function steered(event) {
  const at = cards().indexOf(document.activeElement);
  if (at < 0) return;
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perLine(), ArrowUp: -perLine(), Home: -at, End: shownRows.length };
  if (!(event.key in moves)) return;
  event.preventDefault();
  const to = at + moves[event.key];
  if (to >= 0) focusCard(to);
}

function redrawn() {
  drawn = 0;
  the('gallery').replaceChildren();
  more();
  const { length } = report.rows;
  const few = shownRows.length < length ? `${whole.format(shownRows.length)} of ${plural(length, 'row')} match.` : '';
  the('matching').textContent = shownRows.length || !length ? few : 'No row matches. Widen a range, or change the words.';
}

function toolbar() {
  const search = h('input', { type: 'search', id: 'search', placeholder: 'Search captions and ids', 'aria-label': 'Search captions and ids' });
  search.addEventListener('input', () => { chosen.query = search.value; refresh(); });
  const sort = h('select', { id: 'sort' }, h('option', { value: 'id' }, 'id'), roles.numbers.map((name) => h('option', { value: name }, titled(name))));
  const order = h('button', { type: 'button', id: 'order' });
  const ordered = () => {
    order.textContent = chosen.descending ? 'High to low' : 'Low to high';
    order.setAttribute('aria-label', `Order: ${order.textContent.toLowerCase()}`);
  };
  sort.addEventListener('change', () => { chosen.sort = sort.value; chosen.descending = sort.value !== 'id'; ordered(); refresh(); });
  order.addEventListener('click', () => { chosen.descending = !chosen.descending; ordered(); refresh(); });
  ordered();
  const pairs = h('select', { id: 'pair' }, roles.pairs.map((pair, at) => h('option', { value: at }, titled(pair.after))));
  pairs.addEventListener('change', () => { chosen.pair = Number(pairs.value); refresh(); });
  const clear = h('button', { type: 'button', id: 'clear' }, 'Clear');
  clear.addEventListener('click', () => { chosen.ranges.clear(); chosen.query = search.value = ''; refresh(); });
  listeners.push(() => { clear.hidden = !chosen.query && !chosen.ranges.size; });
  the('toolbar').append(
    search,
    h('label', {}, 'Sort by ', sort),
    order,
    roles.pairs.length > 1 ? h('label', {}, 'Picture ', pairs) : '',
    clear,
  );
}

function gallery() {
  const { sample } = report;
  const from = sample.parts === sample.of_parts ? 'all parts' : `${whole.format(sample.parts)} of ${plural(sample.of_parts, 'part')}`;
  const about = sample.complete
    ? `All ${plural(sample.rows, 'row')}.`
    : `${plural(sample.rows, 'row')} of ${whole.format(sample.of_rows)}, chosen by hash from ${from}: the same ones each time.`;
  the('sampled').textContent = sample.rows ? about : 'There are no accepted rows yet.';
  the('toolbar').hidden = !sample.rows;
  toolbar();
  scores();
  listeners.push(redrawn);
  the('gallery').addEventListener('keydown', steered);
  const end = h('div', { class: 'end' });
  the('gallery').after(end);
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting) && drawn < shownRows.length) more(); }, { rootMargin: '800px' }).observe(end);
  refresh();
}
