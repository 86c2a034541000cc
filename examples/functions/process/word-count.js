#!/usr/bin/env node
// Counts words in the function's state, and answers each message with the counts of its words. Node has all it needs.
// Messages come as lines on stdin, answers go as lines to stdout (docs/reference/process-protocol.md); console.error goes to the log.

const lines = require('readline').createInterface({ input: process.stdin });
const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');

const waiting = new Map(); // calls without an answer
let calls = 0;

function counter(invocation, key) {
  return new Promise((resolve, reject) => {
    calls += 1;
    waiting.set(calls, { resolve, reject });
    say({ type: 'call', call: calls, invocation, counter: key });
  });
}

async function process_(id, message) {
  const words = message.payload.toLowerCase().match(/\w+/g) ?? [];
  const counts = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  // What this invocation adds is not in the answers: it happens when it is done, together with its output.
  for (const word in counts) counts[word] += await counter(id, word);
  return {
    output: JSON.stringify(counts),
    changes: words.map((word) => ({ add: word, amount: 1 })),
  };
}

// One message after the other: an answer to a question about the state knows of all that is done.
let last = Promise.resolve();

lines.on('line', (line) => {
  const request = JSON.parse(line);
  switch (request.type) {
    case 'hello':
      say({ type: 'ready', runtime: `node ${process.version}` });
      break;
    case 'invoke':
      last = last.then(() => process_(request.id, request.message)).then(
        (done) => say({ type: 'done', id: request.id, ...done }),
        (error) => say({ type: 'done', id: request.id, error: error.stack }),
      );
      break;
    case 'answer': {
      const { resolve, reject } = waiting.get(request.call);
      waiting.delete(request.call);
      if (request.error) reject(new Error(request.error));
      else resolve(request.counter);
      break;
    }
  }
});
