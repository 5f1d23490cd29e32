// Runs and batches of whoever looks: how they stand, and an end to those that are not wanted.

import { call } from './api.js';
import { announce, byId, element } from './dom.js';

const PERIOD = 1000; // ms
const NUM_SHOWN = 20;

async function follow() {
  if (!document.hidden && !await refresh()) return;
  setTimeout(follow, PERIOD);
}

/** Show the present; returns whether it is worth asking again. */
async function refresh() {
  const problem = byId('problem');
  try {
    const [runs, { data: batches }] = await Promise.all([
      asked(`api/runs?limit=${NUM_SHOWN}`), asked(`v1/batches?limit=${NUM_SHOWN}`)]);
    show('runs', runs.map(runRow));
    show('batches', batches.map(batchRow));
    problem.hidden = true;
    return true;
  } catch (error) {
    problem.hidden = false;
    problem.textContent = error.message;
    return error.status !== 401 && error.status !== 403;
  }
}

async function asked(path) {
  return (await call(path)).json();
}

/** Put rows in place of the old ones, where any differs: who points at one keeps it. */
function show(id, rows) {
  const body = byId(id);
  byId(`no-${id}`).hidden = rows.length > 0;
  rows.forEach((row, index) => {
    const old = body.children[index];
    if (!old) body.append(row);
    else if (old.dataset.facts !== row.dataset.facts) old.replaceWith(row);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
}

function runRow(run) {
  const { id, status, progress, created_at: began, workflow_inputs: inputs } = run;
  const images = run.outputs.flatMap(({ data }) => data.images ?? []);
  const state = status === 'running' ? `running, ${Math.round(progress * 100)} %` : status;
  return row([id, state, images.length], [
    element('td', new Date(began).toLocaleTimeString()),
    element('td', run.model_id ?? run.deployment_id ?? 'graph'),
    element('td', inputs?.prompt ?? '', { class: 'text' }),
    element('td', state, { class: status === 'failed' ? 'wrong' : '' }),
    picturesCell(images),
    cancelCell(!run.ended_at, `the run ${id}`, `api/run/${id}/cancel`),
  ]);
}

function batchRow({ id, status, created_at: began, request_counts: counts }) {
  const isOpen = ['validating', 'in_progress', 'finalizing'].includes(status);
  return row([id, status, counts.completed, counts.failed, counts.total], [
    element('td', new Date(began * 1000).toLocaleTimeString()),
    element('td', id),
    element('td', status.replaceAll('_', ' '), { class: status === 'failed' ? 'wrong' : '' }),
    ...[counts.completed, counts.failed, counts.total].map((count) => element('td', count, { class: 'number' })),
    cancelCell(isOpen, `the batch ${id}`, `v1/batches/${id}/cancel`),
  ]);
}

function row(facts, cells) {
  const made = element('tr', '', { 'data-facts': JSON.stringify(facts) });
  made.append(...cells);
  return made;
}

function picturesCell(images) {
  const cell = element('td', '', { class: 'pictures' });
  cell.append(...images.map(({ url, filename }) => {
    const here = url.slice(url.indexOf('/kept/') + 1); // whoever made the run may call this host otherwise
    const link = element('a', '', { href: here });
    link.append(element('img', '', { src: here, alt: filename, loading: 'lazy' }));
    return link;
  }));
  return cell;
}

function cancelCell(isOpen, what, path) {
  const cell = element('td');
  if (!isOpen) return cell;
  const button = element('button', 'Cancel', { type: 'button', 'aria-label': `Cancel ${what}` });
  button.addEventListener('click', async () => {
    button.disabled = true;
    await call(path, { method: 'POST' }).then(() => announce(`Cancelled ${what}`), ({ message }) => announce(message));
    await refresh();
  });
  cell.append(button);
  return cell;
}

follow();
