// One row, opened: pictures large with a slider between before and after, all texts and scores, and where it comes from.

let openAt = 0;

function compare(row, pair) {
  const [before, after] = [pair.before && encodedOf(row, pair.before), encodedOf(row, pair.after)];
  if (!before || !after) return h('div', { class: 'stage' }, after ? crisp(picture(after, titled(pair.after))) : h('span', { class: 'none' }, 'no picture'));
  const slider = h('input', { type: 'range', min: 0, max: 100, value: 50, 'aria-label': 'How much of the picture before to show' });
  const box = h(
    'div',
    { class: 'stage wipe' },
    crisp(picture(after, `after: ${titled(pair.after)}`)),
    crisp(picture(before, `before: ${titled(pair.before)}`)),
    h('span', { class: 'label left' }, 'before'),
    h('span', { class: 'label' }, 'after'),
    slider,
  );
  const cut = () => box.style.setProperty('--cut', `${slider.value}%`);
  slider.addEventListener('input', cut);
  cut();
  return box;
}

function strip(row) {
  const there = roles.pictures.filter((column) => encodedOf(row, column));
  return h('div', { class: 'strip' }, there.map((column) => h('figure', {}, crisp(picture(encodedOf(row, column), '')), h('figcaption', {}, titled(column)))));
}

// Where a value lies among all, by the histogram.
function rank(name, value) {
  const told = report.histograms.of[name];
  if (!told) return null;
  const below = told.counts.filter((_, at) => told.edges[at + 1] <= value);
  return sum(below) / Math.max(sum(told.counts), 1);
}

function scoreTable(row) {
  const scored = roles.numbers.map((name, at) => [name, row.numbers[at]]).filter(([, value]) => value !== null);
  if (!scored.length) return null;
  const line = ([name, value]) => {
    const place = rank(name, value);
    return h(
      'tr',
      {},
      h('th', { scope: 'row' }, titled(name)),
      h('td', { class: 'figure' }, number(value)),
      h('td', {}, place !== null && h('span', { class: 'rank', vars: { '--rank': `${place * 100}%` } }), place !== null && h('span', { class: 'note' }, `above ${Math.round(place * 100)}% of rows`)),
    );
  };
  return h('table', { class: 'plain' }, h('caption', {}, 'Scores'), h('tbody', {}, scored.map(line)));
}

function lineage(row) {
  const run = report.runs.find((one) => one.run_id === row.run);
  const told = row.lineage;
  const source = h('li', {}, h('h4', {}, 'Source row'), facts([['source', told.source_uri], ['id', told.source_id], ['content hash', told.content_hash]]));
  const step = (given) => {
    const [[kind, values]] = Object.entries(given);
    const digest = run.weights[values.model];
    return h('li', {}, h('h4', {}, kind), h('details', {}, h('summary', {}, [values.method, values.model].filter(Boolean).join(', ') || 'options'), options(values)), digest && facts([['weights, SHA-256', digest]]));
  };
  const end = h('li', {}, h('h4', {}, 'This row'), facts([
    ['id', row.id], ['seed', told.row_seed], ['run', row.run], ['began', run && when(run.started)], ['plan', told.plan_fingerprint],
    ['versions', run && Object.entries(run.packages).map(([name, version]) => `${name} ${version}`).join(', ')],
  ]));
  const unknown = run ? null : h('li', {}, h('h4', {}, 'Steps'), h('p', { class: 'note' }, 'The record of its run is not on this page.'));
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return h(
    'div',
    {},
    h('h3', {}, 'Lineage'),
    h('ol', { class: 'lineage' }, source, run ? run.steps.map(step) : unknown, end),
    copied(`latentmill lineage ${shell(report.sink)} ${shell(row.id)}`),
    copied(`latentmill replay ${shell(report.sink)} ${shell(row.id)}`),
  );
}

function openRow(at) {
  openAt = Math.max(0, Math.min(at, shownRows.length - 1));
  const row = shownRows[openAt];
  const pair = pairOf();
  const dialog = the('row');
  const texts = roles.texts.map((name, index) => [titled(name), row.texts[index]]);
  const flags = roles.flags.map((name, index) => [titled(name), row.flags[index] === null ? null : row.flags[index] ? 'yes' : 'no']);
  const close = h('button', { type: 'button', class: 'close', onclick: () => dialog.close() }, 'Close');
  dialog.replaceChildren(
    h(
      'div',
      { class: 'bar' },
      h('h2', { id: 'row-title' }, row.id),
      h('span', { class: 'note' }, `${whole.format(openAt + 1)} of ${whole.format(shownRows.length)}`),
      h('button', { type: 'button', disabled: openAt === 0, onclick: () => openRow(openAt - 1) }, 'Previous'),
      h('button', { type: 'button', disabled: openAt === shownRows.length - 1, onclick: () => openRow(openAt + 1) }, 'Next'),
      close,
    ),
    h('div', { class: 'opened' }, pair && h('div', {}, compare(row, pair), strip(row)), h('div', {}, facts([...texts, ...flags]), scoreTable(row), lineage(row))),
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  close.focus();
}

function opening() {
  const dialog = the('row');
  dialog.addEventListener('keydown', (event) => {
    if (event.target.matches('input')) return;
    if (event.key === 'ArrowRight' && openAt < shownRows.length - 1) openRow(openAt + 1);
    if (event.key === 'ArrowLeft' && openAt > 0) openRow(openAt - 1);
  });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => focusCard(openAt));
}
