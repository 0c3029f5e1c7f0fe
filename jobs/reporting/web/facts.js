// The figures at a glance, and what ran.

function outcomeBar(counts) {
  const total = sum(counts.map(([, count]) => count));
  if (!total) return null;
  const parts = counts.filter(([, count]) => count).map(([kind, count]) => h('span', { class: kind, vars: { 'flex-grow': count } }));
  const told = counts.map(([kind, count]) => `${whole.format(count)} ${kind}`).join(', ');
  return h('div', { class: 'outcomes', role: 'img', 'aria-label': told }, parts);
}

function glance(title, value, about, kind) {
  return h('div', { class: `glance ${kind || ''}` }, h('dt', {}, title), h('dd', {}, h('b', {}, value), about && h('span', { class: 'note' }, about)));
}

function overview() {
  const { status, cost } = report;
  const rejected = sum(Object.values(status.rejected));
  const total = status.accepted + status.filtered + rejected;
  const of = (count) => (total ? share.format(count / total) : '');
  const done = status.source_rows ? `of ${whole.format(status.source_rows)} source rows (${share.format(status.rows_done / status.source_rows)})` : 'source rows';
  const seconds = sum(report.runs.map((run) => run.seconds || run.working_seconds || 0));
  const told = [
    glance('Accepted', whole.format(status.accepted), of(status.accepted), 'accepted'),
    glance('Filtered', whole.format(status.filtered), of(status.filtered), 'filtered'),
    glance('Rejected', whole.format(rejected), of(rejected), 'rejected'),
    glance('Done', whole.format(status.rows_done), done),
    glance('Speed', status.rows_per_second === null ? '-' : number(status.rows_per_second), 'rows/s'),
    status.seconds_left === null
      ? glance('Time', spell(seconds), plural(report.runs.length, 'run'))
      : glance('Time left', spell(status.seconds_left), `after ${spell(seconds)}`),
  ];
  if (cost) {
    const per = cost.per_thousand === null ? '-' : number(cost.per_thousand);
    told.push(glance('Cost of 1,000 rows', per, `${number(cost.total)} in all: ${number(cost.hours)} ${cost.unit} hours at ${number(cost.price)}`));
  }
  the('overview').append(
    h('p', { class: 'note where' }, report.sink),
    h('dl', { class: 'glances' }, told),
    outcomeBar([['accepted', status.accepted], ['filtered', status.filtered], ['rejected', rejected]]) || '',
  );
}

function resourcesOf(run) {
  return run.resources.map((one) => {
    const stage = one.steps.map((step) => step.step).join(' + ');
    const held = (run.stages || {})[stage];
    const hours = held ? `; ${plural(held.actors, 'actor')} for ${number(held.hours)} h` : '';
    return [stage, `${number(one.gpus)} GPUs, ${number(one.cpus)} CPUs an actor, ${plural(one.threads, 'thread')}, batches of ${one.steps.map((step) => step.batch_rows).join(', ')}${hours}`];
  });
}

function runFacts(run, open) {
  const name = (given) => Object.keys(given)[0];
  const weights = Object.entries(run.weights || {});
  return h(
    'details',
    { class: 'run', open },
    h('summary', {}, h('b', {}, when(run.started)), ` ${run.state}, ${plural(run.rows_in || 0, 'row')} in, ${whole.format(run.rows_out || 0)} out`),
    facts([
      ['run', run.run_id], ['mode', run.mode], ['source', run.source], ['host', run.host], ['ended', when(run.ended)],
      ['computed on', run.machines.join(', ')], ['seed', run.seed], ['plan', run.fingerprint],
      ['versions', Object.entries(run.packages || {}).map(([given, version]) => `${given} ${version}`).join(', ')],
    ]),
    h('h3', {}, 'Steps'),
    h('ol', { class: 'lineage' }, run.steps.map((given) => h('li', {}, h('h4', {}, name(given)), h('details', {}, h('summary', {}, 'options'), options(given[name(given)]))))),
    Object.keys(run.revisions).length ? h('h3', {}, 'Commits of models') : '',
    facts(Object.entries(run.revisions)),
    weights.length ? h('h3', {}, 'Weights, SHA-256') : '',
    weights.length ? facts(weights) : '',
    run.resources.length ? h('h3', {}, 'Where it ran') : '',
    run.resources.length ? facts(resourcesOf(run)) : '',
  );
}

function runsSection() {
  const section = the('runs');
  section.hidden = !report.runs.length;
  if (!report.runs.length) return;
  const newest = [...report.runs].reverse();
  section.append(h('div', { class: 'heading' }, h('h2', { id: 'runs-title' }, report.runs.length > 1 ? 'Runs' : 'Run')), ...newest.map((run, at) => runFacts(run, at === 0)));
}
