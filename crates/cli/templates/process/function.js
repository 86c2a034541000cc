#!/usr/bin/env node
// {{name}}: adds an exclamation mark to every message.
//
// A process function reads lines of JSON from stdin and answers with lines of JSON on stdout; the reference is "process protocol" in
// Geminga's documentation. console.error goes to the function's log.

/** What comes of one message: `{output}`, `{outputs}`, `{changes}` of state, or nothing. What it throws fails the message. */
function handle(message, config) {
  return {
    output: message.payload + (config.suffix ?? '!'),
    // Part of the same commit as the output: it counts once, or not at all.
    changes: [{ add: 'messages', amount: 1 }],
  };
}

function main() {
  const say = (event) => process.stdout.write(JSON.stringify(event) + '\n');
  let config = {};
  require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const request = JSON.parse(line);
    if (request.type === 'hello') {
      config = request.user_config ?? {};
      say({ type: 'ready', runtime: `node ${process.version}` });
    } else if (request.type === 'invoke') {
      try {
        say({ type: 'done', id: request.id, ...handle(request.message, config) });
      } catch (error) {
        say({ type: 'done', id: request.id, error: error.stack });
      }
    }
  });
}

if (require.main === module) main();
module.exports = { handle };
