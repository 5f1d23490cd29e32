// Server-sent events over fetch (EventSource cannot POST).

/**
 * Yield what a stream says: `{ data }` for an event, its JSON decoded,
 * and `{ comment }` for a line that other clients skip.
 */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop();
    for (const block of blocks) yield* parsed(block);
  }
}

function* parsed(block) {
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith(':')) yield { comment: line.slice(1).trim() };
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  const joined = data.join('\n');
  if (joined && joined !== '[DONE]') yield { data: JSON.parse(joined) };
}
