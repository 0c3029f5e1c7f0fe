// How each step went over time: rows per second, actors at work, and how full its card was.

const WIDE = 300;
const HIGH = 56;

function line(values, most, length) {
  const x = (at) => ((at + 0.5) / length) * WIDE;
  const y = (value) => HIGH - 2 - (value / most) * (HIGH - 8);
  return values.map((value, at) => `${at ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join('');
}

function chart(label, told, unit, seconds, length) {
  // A step that was done before the others has nothing to tell of the time after it.
  const values = [...told, ...Array(length - told.length).fill(0)];
  const most = Math.max(...values, 0) || 1;
  const path = line(values, most, length);
  const mark = s('line', { class: 'mark', y1: 0, y2: HIGH, 'vector-effect': 'non-scaling-stroke' });
  const tip = h('span', { class: 'tip', 'aria-hidden': 'true' }, `up to ${unit(most)}`);
  const svg = s(
    'svg',
    { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${label} over ${spell(length * seconds)}, up to ${unit(most)}` },
    s('path', { class: 'area', d: `${path}V${HIGH}H${((WIDE * 0.5) / length).toFixed(1)}Z` }),
    s('path', { class: 'line', d: path, 'vector-effect': 'non-scaling-stroke' }),
    mark,
  );
  svg.addEventListener('pointermove', (event) => {
    const place = svg.getBoundingClientRect();
    const at = Math.min(values.length - 1, Math.max(0, Math.floor(((event.clientX - place.left) / place.width) * length)));
    const x = ((at + 0.5) / length) * WIDE;
    mark.setAttribute('x1', x);
    mark.setAttribute('x2', x);
    svg.classList.add('read');
    tip.textContent = `${unit(values[at])} after ${spell((at + 0.5) * seconds)}`;
  });
  svg.addEventListener('pointerleave', () => { svg.classList.remove('read'); tip.textContent = `up to ${unit(most)}`; });
  return h('figure', { class: 'chart' }, h('figcaption', {}, h('span', {}, label), tip), svg);
}

function stepCharts(run) {
  const { timeline } = run;
  const lines = Object.entries(timeline.steps);
  const seconds = timeline.bucket_seconds;
  const length = Math.max(...lines.flatMap(([, told]) => Object.values(told).map((values) => values.length)), 1);
  return lines.map(([name, told]) => {
    const figure = run.figures[name] || {};
    const charts = [
      chart('rows/s', told.rows.map((rows) => rows / seconds), (value) => `${number(value)} rows/s`, seconds, length),
      chart('actors at work', told.seconds.map((spent) => spent / seconds), number, seconds, length),
    ];
    if ((told.card || []).some(Boolean)) charts.push(chart("share of the card's memory", told.card, (value) => share.format(value), seconds, length));
    const known = [[plural(figure.rows, 'row'), figure.rows], [`${number(figure.rows_per_second)} rows/s an actor`, figure.rows_per_second], [`${share.format(figure.card || 0)} of its card`, figure.card], [`${plural(figure.filtered || 0, 'row')} left out`, figure.filtered]];
    return h('div', { class: 'step' }, h('div', { class: 'about' }, h('h3', {}, name), known.filter(([, there]) => there).map(([told]) => h('p', {}, told))), h('div', { class: 'charts' }, charts));
  });
}

function speed() {
  const section = the('speed');
  const runs = report.runs.filter((run) => run.timeline && Object.keys(run.timeline.steps).length);
  section.hidden = !runs.length;
  if (!runs.length) return;
  const body = h('div', {});
  const pick = h('select', { id: 'which-run' }, runs.map((run, at) => h('option', { value: at, selected: at === runs.length - 1 }, `${when(run.started)}, ${run.state}`)));
  const draw = () => {
    const run = runs[Number(pick.value)];
    const hours = run.accelerator_hours ? `, ${number(run.accelerator_hours)} accelerator hours` : '';
    const note = `${plural(run.rows_in, 'row')} in ${spell(run.seconds || run.working_seconds)}${hours}. Each point stands for ${spell(run.timeline.bucket_seconds)}.`;
    body.replaceChildren(h('p', { class: 'note' }, note), ...stepCharts(run));
  };
  pick.addEventListener('change', draw);
  section.append(h('div', { class: 'heading' }, h('h2', { id: 'speed-title' }, 'Speed'), runs.length > 1 ? h('label', {}, 'Run ', pick) : ''), body);
  draw();
}
