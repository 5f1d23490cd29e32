// Two small charts, drawn into an <svg> whose box is stretched to its place.

const SVG = 'http://www.w3.org/2000/svg';

/** Bars for whole numbers, the latest at the right edge of `slots` places. */
export function drawBars(svg, values, slots) {
  const most = Math.max(1, ...values);
  svg.setAttribute('viewBox', `0 0 ${slots} ${most}`);
  const first = slots - values.length;
  svg.replaceChildren(...values.map((value, index) => shape('rect', {
    class: 'bar', x: first + index + 0.1, y: most - value, width: 0.8, height: value })));
  return most;
}

/** Lines over time, the latest at the right edge of `slots` places; the second is dashed. */
export function drawLines(svg, series, slots) {
  const most = Math.max(1, ...series.flat());
  svg.setAttribute('viewBox', `0 ${-0.04 * most} ${slots - 1} ${1.04 * most}`);
  svg.replaceChildren(...series.map((values, index) => shape('polyline', {
    class: index ? 'line second' : 'line',
    points: values.map((value, at) => `${slots - values.length + at},${most - value}`).join(' '),
  })));
  return most;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
