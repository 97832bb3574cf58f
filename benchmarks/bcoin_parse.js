// Parses a block from a file again and again, with the ids of all its transactions, and says how long each time took.
//
//   node bcoin_parse.js MODULES FILE ROUNDS    ->    one line: milliseconds of CPU a round, as JSON
'use strict';

process.env.NODE_BACKEND = 'js';

const fs = require('fs');
const path = require('path');

const [modules, file, rounds] = process.argv.slice(2);
const Block = require(path.join(modules, 'bcoin', 'lib', 'primitives', 'block'));
const raw = fs.readFileSync(file);
const times = [];

for (let round = 0; round < Number(rounds); round++) {
  const before = process.cpuUsage();
  const block = Block.fromRaw(raw);
  for (const tx of block.txs) {
    tx.hash();
    tx.witnessHash();
  }
  const used = process.cpuUsage(before);
  times.push((used.user + used.system) / 1000);
}

console.log(JSON.stringify(times));
