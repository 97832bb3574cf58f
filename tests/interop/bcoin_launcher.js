// A bcoin node on regtest for tests: on loopback, in memory, with the peers that it is given and no others. It looks up no
// names, asks no gateway, and dials nobody of its own accord.
//
//   node bcoin_launcher.js '{"modules": DIR, "port": N, "http": N, "key": STRING, "only": ["127.0.0.1:N"], "prefix": DIR, "flush": MS}'
//
// Says `READY {"address": ..., "witness": ...}` on stdout once it answers RPC. The addresses pay to a script that anyone can
// spend (P2SH and P2WSH of OP_1), so that tests can spend what is mined without holding keys.
'use strict';

process.env.NODE_BACKEND = 'js';

const path = require('path');

const settings = JSON.parse(process.argv[2]);
const bcoin = path.join(settings.modules, 'bcoin', 'lib');
const FullNode = require(path.join(bcoin, 'node', 'fullnode'));
const Pool = require(path.join(bcoin, 'net', 'pool'));
const Peer = require(path.join(bcoin, 'net', 'peer'));
const Address = require(path.join(bcoin, 'primitives', 'address'));
const Script = require(path.join(bcoin, 'script', 'script'));
const opcodes = require(path.join(bcoin, 'script', 'common')).opcodes;

// How often a peer is told of transactions: 5 s, unless the test is not about waiting.
if (settings.flush)
  Peer.INV_INTERVAL = settings.flush;

// Both would ask the network who and where we are.
Pool.prototype.discoverExternal = async function() {};
Pool.prototype.discoverGateway = async function() {};

const node = new FullNode({
  network: 'regtest',
  memory: true,
  workers: false,
  prefix: settings.prefix,
  logConsole: true,
  logFile: false,
  logLevel: 'debug',
  listen: true,
  host: '127.0.0.1',
  port: settings.port,
  publicHost: '127.0.0.1',
  publicPort: settings.port,
  httpHost: '127.0.0.1',
  httpPort: settings.http,
  apiKey: settings.key,
  seeds: [],
  only: settings.only,
  persistent: false
});

// `only: []` means no restriction, which would be its built-in seeds.
node.pool.hosts.dnsSeeds.length = 0;

async function start() {
  await node.ensure();
  await node.open();
  await node.connect();
  if (settings.only.length > 0)
    node.startSync();
  else
    node.pool.syncing = true; // takes what peers that dial in offer
  const script = new Script();
  script.pushOp(opcodes.OP_1);
  script.compile();
  const address = Address.fromScripthash(script.hash160()).toString('regtest');
  const witness = Address.fromWitnessScripthash(script.sha256()).toString('regtest');
  console.log(`READY ${JSON.stringify({ address, witness })}`);
}

async function stop() {
  try {
    await node.close();
  } finally {
    process.exit(0);
  }
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);
start().catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
