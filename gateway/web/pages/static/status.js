// The operator's page: one snapshot a second, while somebody looks.

import { call } from './api.js';
import { drawBars, drawLines } from './chart.js';
import { byId, element } from './dom.js';

const PERIOD = 1000; // ms
const NUM_SECONDS = 120;
const NUM_FORWARDS = 64;
const counts = [];

async function follow() {
  if (!document.hidden && !await refresh()) return;
  setTimeout(follow, PERIOD);
}

/** Show the present; returns whether it is worth asking again. */
async function refresh() {
  const problem = byId('problem');
  try {
    render(await (await call('status.json')).json());
    problem.hidden = true;
    return true;
  } catch (error) {
    problem.hidden = false;
    byId('light').dataset.state = 'gone';
    byId('ready').textContent = 'No answer';
    const isClosed = error.status === 401 || error.status === 403;
    problem.textContent = isClosed ? `${error.message} Reload the page to enter another key.` : error.message;
    return !isClosed;
  }
}

function render(snapshot) {
  const { engine } = snapshot;
  counts.push([engine.num_running, engine.num_waiting]);
  counts.splice(0, counts.length - NUM_SECONDS);
  byId('light').dataset.state = engine.ready ? 'ready' : 'starting';
  byId('ready').textContent = engine.ready ? 'Ready' : 'Getting ready';
  byId('since').textContent = `Version ${snapshot.version}, up for ${duration(snapshot.uptime_seconds)}`;
  renderFigures(snapshot);
  renderCharts(engine);
  byId('endpoints').replaceChildren(...snapshot.endpoints.map((id) => endpointRow(id, snapshot)));
  byId('replicas-section').hidden = engine.replicas.length === 0;
  byId('replicas').replaceChildren(...engine.replicas.map(replicaRow));
  renderFaults(snapshot);
  byId('recent').replaceChildren(...snapshot.recent.map(requestRow));
  byId('none-yet').hidden = snapshot.recent.length > 0;
}

function renderFigures({ engine, max_batch: maxBatch, max_waiting: maxWaiting }) {
  const steps = Object.entries(engine.step_seconds);
  const [slowest, seconds] = steps.sort((one, other) => other[1] - one[1])[0] ?? ['', null];
  const devices = engine.replicas.length;
  byId('running').textContent = engine.num_running;
  byId('running-most').textContent = `of ${maxBatch} at once per endpoint${devices ? ' and replica' : ''}`;
  byId('waiting').textContent = engine.num_waiting;
  byId('waiting-most').textContent = `of ${maxWaiting * Math.max(1, devices)} before 429`;
  byId('batch').textContent = engine.batch_sizes.length ? mean(engine.batch_sizes).toFixed(1) : '–';
  byId('step').textContent = milliseconds(seconds);
  byId('step-of').textContent = slowest && `latest of ${slowest}`;
  byId('recorded').textContent = engine.num_recordings
    ? `${engine.num_recordings} forwards recorded, ${Math.round(engine.recorded_bytes / 2 ** 20)} MiB` : '';
}

function renderCharts(engine) {
  const forwards = engine.batch_sizes.slice(-NUM_FORWARDS);
  const largest = drawBars(byId('batches'), forwards, NUM_FORWARDS);
  byId('batch-most').textContent = `at most ${largest}`;
  const series = [0, 1].map((which) => counts.map((pair) => pair[which]));
  byId('queue-most').textContent = `at most ${drawLines(byId('queue'), series, NUM_SECONDS)}`;
}

function renderFaults({ unusable, passed_over: passedOver }) {
  const faults = [...Object.entries(unusable), ...passedOver.map((line) => ['', line])];
  byId('faults').hidden = faults.length === 0;
  byId('fault-rows').replaceChildren(...faults.map(([model, why]) => {
    const row = element('tr');
    row.append(cell(model, 'wrong'), cell(why, 'text'));
    return row;
  }));
}

function endpointRow(id, { engine, unusable, fetching }) {
  const row = element('tr');
  const everywhere = engine.loaded.filter((one) => one.id === id);
  const [loaded] = everywhere;
  const coming = fetching.find((one) => one.model.split(':')[0] === id);
  row.append(
    cell(id),
    coming ? comingCell(coming) : stateCell(loaded, id in unusable),
    cell(loaded?.pipeline ?? ''),
    cell(everywhere.map((one) => one.device).join(', ')),
    cell(loaded ? bytes(loaded.size_bytes) : '', 'number'),
    cell(loaded ? `${bytes(loaded.used_bytes)} of ${bytes(loaded.planned_bytes)}` : '', 'number'),
    cell(engine.plans[id] ?? '', 'text'),
    cell([...new Set(everywhere.flatMap((one) => one.adapters))].join(', ')),
    cell(milliseconds(engine.step_seconds[id]), 'number'));
  return row;
}

function replicaRow(replica) {
  const row = element('tr');
  row.append(
    cell(replica.name),
    cell(replica.standing, replica.standing === 'ready' ? '' : 'quiet'),
    cell(replica.process ? `${replica.process} on ${replica.host}` : ''),
    cell(replica.num_running, 'number'),
    cell(replica.num_waiting, 'number'),
    cell(`${replica.queued_seconds.toFixed(1)} s`, 'number'),
    cell(replica.fault ?? '', 'text'));
  return row;
}

function stateCell(loaded, isUnusable) {
  if (isUnusable) return cell('unusable', 'wrong');
  return loaded ? cell(loaded.warm ? 'warm' : 'loaded') : cell('not loaded', 'quiet');
}

function comingCell({ done_bytes: done, total_bytes: total, num_files: files }) {
  return cell(`fetching ${files} files: ${bytes(done)} of ${bytes(total)}`);
}

function requestRow(request) {
  const row = element('tr');
  row.append(
    cell(new Date(request.began * 1000).toLocaleTimeString()),
    cell(`${request.method} ${request.path}`),
    cell(request.model),
    cell(request.n ?? '', 'number'),
    cell(request.num_inference_steps ?? '', 'number'),
    cell(request.status, request.status < 400 ? '' : 'wrong'),
    cell(milliseconds(request.seconds), 'number'));
  return row;
}

function cell(text, kind = '') {
  return element('td', String(text ?? ''), { class: kind });
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
