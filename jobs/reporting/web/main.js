// Puts the page together.

function themed() {
  const names = ['auto', 'light', 'dark'];
  const button = the('theme');
  const apply = (name) => {
    if (name === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    button.dataset.theme = name;
  };
  button.addEventListener('click', () => apply(names[(names.indexOf(button.dataset.theme) + 1) % names.length]));
  apply('auto');
}

function headed() {
  the('job').textContent = report.status.job;
  the('state').textContent = report.status.state;
  the('state').classList.add(report.status.state);
  const sections = [['rows', 'Rows'], ['rejects', 'Rejected'], ['filtered', 'Filtered'], ['speed', 'Speed'], ['runs', 'Runs']];
  the('sections').append(...sections.filter(([id]) => !the(id).hidden).map(([id, name]) => h('a', { href: `#${id}` }, name)));
  the('foot').textContent = `Made by latentmill report on ${when(report.made)}.`;
}

document.addEventListener('keydown', (event) => {
  if (event.key === '/' && !event.target.matches('input, select') && !the('row').open) {
    event.preventDefault();
    the('search').focus();
  }
});

overview();
gallery();
opening();
others();
speed();
runsSection();
themed();
headed();
