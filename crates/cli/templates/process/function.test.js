const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { test } = require('node:test');
const path = require('node:path');
const { handle } = require('./{{name}}.js');

test('adds an exclamation mark', () => {
  assert.strictEqual(handle({ payload: 'hello' }, {}).output, 'hello!');
  assert.strictEqual(handle({ payload: 'hello' }, { suffix: '?' }).output, 'hello?');
});

test('speaks the protocol', () => {
  const input = [{ type: 'hello' }, { type: 'invoke', id: 1, message: { payload: 'hello' } }];
  const lines = input.map((request) => JSON.stringify(request) + '\n').join('');
  const { stdout } = spawnSync(process.execPath, [path.join(__dirname, '{{name}}.js')], { input: lines, encoding: 'utf8' });
  const [ready, done] = stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.strictEqual(ready.type, 'ready');
  assert.strictEqual(done.id, 1);
  assert.strictEqual(done.output, 'hello!');
});
