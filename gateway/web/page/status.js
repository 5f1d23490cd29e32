// The operator's page: one snapshot a second, while somebody looks.

import { call } from './api.js';
import { drawBars, drawLines } from './chart.js';
import { byId, element } from './dom.js';

const PERIOD = 1000; // ms
const NUM_SECONDS = 120;
const NUM_FORWARDS = 64;
const history = [];

async function follow() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((resolve) => { setTimeout(resolve, PERIOD); });
  }
}

async function refresh() {
  const problem = byId('problem');
  try {
    render(await (await call('status.json')).json());
    problem.hidden = true;
  } catch (error) {
    problem.hidden = false;
    problem.textContent = error.message;
    byId('light').dataset.state = 'gone';
    byId('ready').textContent = 'No answer';
  }
}

function render(snapshot) {
  const { engine } = snapshot;
  history.push([engine.num_running, engine.num_waiting]);
  history.splice(0, history.length - NUM_SECONDS);
  byId('light').dataset.state = engine.ready ? 'ready' : 'starting';
  byId('ready').textContent = engine.ready ? 'Ready' : 'Getting ready';
  byId('since').textContent = `Version ${snapshot.version}, up for ${duration(snapshot.uptime_seconds)}`;
  renderFigures(snapshot);
  renderCharts(engine);
  byId('endpoints').replaceChildren(...snapshot.endpoints.map((id) => endpointRow(id, engine)));
  byId('recent').replaceChildren(...(snapshot.recent.length
    ? snapshot.recent.map(requestRow) : [element('tr')]));
  if (!snapshot.recent.length) byId('recent').firstChild.append(cell('None yet', 'quiet', 7));
}

function renderFigures({ engine, max_batch: maxBatch, max_waiting: maxWaiting }) {
  const steps = Object.entries(engine.step_seconds);
  const [slowest, seconds] = steps.sort((one, other) => other[1] - one[1])[0] ?? ['', null];
  byId('running').textContent = engine.num_running;
  byId('running-most').textContent = `of ${maxBatch} at once per endpoint`;
  byId('waiting').textContent = engine.num_waiting;
  byId('waiting-most').textContent = `of ${maxWaiting} before 429`;
  byId('batch').textContent = engine.batch_sizes.length ? mean(engine.batch_sizes).toFixed(1) : '–';
  byId('step').textContent = milliseconds(seconds);
  byId('step-of').textContent = slowest && `latest of ${slowest}`;
}

function renderCharts(engine) {
  const forwards = engine.batch_sizes.slice(-NUM_FORWARDS);
  const largest = drawBars(byId('batches'), forwards, NUM_FORWARDS);
  byId('batch-most').textContent = `at most ${largest}`;
  const series = [0, 1].map((which) => history.map((counts) => counts[which]));
  byId('queue-most').textContent = `at most ${drawLines(byId('queue'), series, NUM_SECONDS)}`;
}

function endpointRow(id, engine) {
  const row = element('tr');
  const loaded = engine.loaded.find((one) => one.id === id);
  row.append(
    cell(id),
    loaded ? cell(loaded.warm ? 'warm' : 'loaded') : cell('not loaded', 'quiet'),
    cell(loaded?.pipeline ?? ''),
    cell(loaded?.device ?? ''),
    cell(loaded ? bytes(loaded.size_bytes) : '', 'number'),
    cell(loaded?.adapters.join(', ') ?? ''),
    cell(milliseconds(engine.step_seconds[id]), 'number'));
  return row;
}

function requestRow(request) {
  const row = element('tr');
  row.append(
    cell(new Date(request.began * 1000).toLocaleTimeString()),
    cell(`${request.method} ${request.path}`),
    cell(request.model),
    cell(request.n ?? '', 'number'),
    cell(request.num_inference_steps ?? '', 'number'),
    cell(request.code ? `${request.status} ${request.code}` : request.status, request.status < 400 ? '' : 'wrong'),
    cell(milliseconds(request.seconds), 'number'));
  return row;
}

function cell(text, kind = '', span = 1) {
  return element('td', String(text ?? ''), { class: kind, colspan: span });
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  return seconds < 10 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

function bytes(count) {
  return count < 2 ** 30 ? `${(count / 2 ** 20).toFixed(0)} MiB` : `${(count / 2 ** 30).toFixed(1)} GiB`;
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

follow();
