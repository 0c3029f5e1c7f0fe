// Rows that did not come out: how many and why, and some of them with their pictures.

function leftOutCard(row) {
  const there = Object.entries(row.pictures).map(([name, at]) => {
    return h('span', { class: 'tile' }, crisp(picture(report.left_out.pictures[at], titled(name))), h('span', { class: 'label' }, titled(name)));
  });
  const broken = row.unreadable.map((name) => h('span', { class: 'tile' }, h('span', { class: 'none' }, 'no picture'), h('span', { class: 'label' }, titled(name))));
  const attempt = row.attempt > 1 ? `, attempt ${row.attempt}` : '';
  const tiles = [...there, ...broken];
  return h(
    'li',
    { class: 'card' },
    tiles.length ? h('span', { class: 'tiles', vars: { '--tiles': tiles.length } }, tiles) : '',
    h(
      'span',
      { class: 'words' },
      row.message && h('span', { class: 'message' }, row.message),
      row.reason && h('span', {}, row.reason),
      Object.values(row.texts).slice(0, 2).map((text) => h('span', { class: 'was' }, text)),
    ),
    h('span', { class: 'id' }, `${row.id}, in ${row.step}${attempt}`),
  );
}

// Groups of rows, the largest first; `counts` knows of rows that are not shown.
function groups(section, counts, shown, kind) {
  const total = sum(Object.values(counts));
  const ordered = Object.entries(counts).sort(([, one], [, other]) => other - one);
  ordered.forEach(([name, count], at) => {
    const rows = shown[name] || [];
    const few = rows.length < count ? `, ${whole.format(rows.length)} of them shown` : '';
    const bar = h('span', { class: `rank ${kind}`, vars: { '--rank': `${(count / total) * 100}%` } });
    const summary = h('summary', {}, h('b', {}, name), ' ', bar, ` ${plural(count, 'row')}${few}`);
    section.append(h('details', { class: 'code', open: at === 0 }, summary, h('ul', { class: 'gallery still' }, rows.map(leftOutCard))));
  });
  return total;
}

function leftOut(id, title, counts, shown, kind, about) {
  const section = the(id);
  const known = { ...Object.fromEntries(Object.entries(shown).map(([name, rows]) => [name, rows.length])), ...counts };
  section.hidden = !Object.keys(known).length;
  if (section.hidden) return;
  const note = h('p', { class: 'note' });
  section.append(h('div', { class: 'heading' }, h('h2', { id: `${id}-title` }, title), note));
  note.append(`${plural(groups(section, known, shown, kind), 'row')}. `, quoted(about));
}

function filteredByStep() {
  const counts = {};
  for (const run of report.runs) {
    for (const [name, figure] of Object.entries(run.figures)) {
      if (figure.filtered) counts[name] = (counts[name] || 0) + figure.filtered;
    }
  }
  return counts;
}

function others() {
  const { rejected, filtered } = report.left_out;
  leftOut('rejects', 'Rejected', report.status.rejected, rejected, 'bad', report.status.advice || '');
  leftOut('filtered', 'Filtered', filteredByStep(), filtered, 'warn', Object.keys(filtered).length ? '' : 'Jobs keep them with `sink.filtered: true`.');
}
