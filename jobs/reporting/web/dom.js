// Elements from data. Whatever a row holds becomes text or an attribute, never markup.

const SVG = 'http://www.w3.org/2000/svg';

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'vars') for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
const the = (id) => document.getElementById(id);

const report = JSON.parse(the('report').textContent);

const whole = new Intl.NumberFormat('en');
const share = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 1 });

function number(value) {
  if (value === null || value === undefined) return '-';
  if (Number.isInteger(value)) return whole.format(value);
  if (Math.abs(value) < 0.001) return value.toExponential(1);
  return new Intl.NumberFormat('en', { maximumSignificantDigits: Math.abs(value) < 1000 ? 3 : 6 }).format(value);
}

function spell(seconds) {
  const units = [['d', 86400, 'h', 3600], ['h', 3600, 'min', 60], ['min', 60, 's', 1]];
  for (const [unit, size, smaller, part] of units) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ${Math.floor((seconds % size) / part)} ${smaller}`;
  }
  return `${Math.round(seconds)} s`;
}

const when = (iso) => (iso ? iso.slice(0, 19).replace('T', ' ') + ' UTC' : '-');
const plural = (count, word) => `${whole.format(count)} ${word}${count === 1 ? '' : 's'}`;
const sum = (values) => values.reduce((total, value) => total + value, 0);
const titled = (name) => name.replaceAll('_', ' ');

// Words with `code` in them.
const quoted = (text) => h('span', {}, text.split('`').map((piece, at) => (at % 2 ? h('code', {}, piece) : piece)));

function picture(encoded, label) {
  return h('img', { src: `data:image/webp;base64,${encoded}`, alt: label, decoding: 'async', draggable: 'false' });
}

// Pixel art stays crisp: a picture that is shown much larger than it is is not blurred.
function crisp(image) {
  const judge = () => image.classList.toggle('crisp', image.naturalWidth > 0 && image.naturalWidth <= 128);
  if (image.complete) judge();
  image.addEventListener('load', judge);
  return image;
}

function facts(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return h('dl', { class: 'facts' }, shown.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}

// A page from a file may not be let at the clipboard: then the command is selected, ready to be copied.
function copied(text) {
  const code = h('code', { tabindex: '0' }, text);
  const button = h('button', { type: 'button', class: 'quiet', 'aria-label': `Copy: ${text}` }, 'Copy');
  button.addEventListener('click', () => {
    getSelection().selectAllChildren(code);
    const done = () => { button.textContent = 'Copied'; };
    navigator.clipboard?.writeText(text).then(done, () => {});
  });
  return h('div', { class: 'command' }, code, button);
}

function options(given) {
  const kept = Object.entries(given).filter(([, value]) => value !== null && value !== '' && !(Array.isArray(value) && !value.length));
  return facts(kept.map(([name, value]) => [titled(name), typeof value === 'object' ? JSON.stringify(value) : String(value)]));
}
