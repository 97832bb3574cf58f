// bcoin on regtest for the benchmarks: in memory, on loopback, silent; it looks up no names and dials nobody.
//
//   node bcoin_node.js '{"modules": DIR, "port": N, "http": N, "prefix": DIR}'
'use strict';

process.env.NODE_BACKEND = 'js';

const path = require('path');

const settings = JSON.parse(process.argv[2]);
const lib = path.join(settings.modules, 'bcoin', 'lib');
const FullNode = require(path.join(lib, 'node', 'fullnode'));
const Pool = require(path.join(lib, 'net', 'pool'));

// Both would ask the network who and where we are.
Pool.prototype.discoverExternal = async function() {};
Pool.prototype.discoverGateway = async function() {};

const node = new FullNode({
  network: 'regtest',
  memory: true,
  workers: false,
  prefix: settings.prefix,
  logConsole: false,
  logFile: false,
  logLevel: 'none',
  listen: true,
  host: '127.0.0.1',
  port: settings.port,
  publicHost: '127.0.0.1',
  publicPort: settings.port,
  httpHost: '127.0.0.1',
  httpPort: settings.http,
  apiKey: 'bench',
  maxInbound: 200,
  seeds: [],
  only: [],
  persistent: false
});
node.pool.hosts.dnsSeeds.length = 0;

(async () => {
  await node.ensure();
  await node.open();
  await node.connect();
  node.pool.syncing = true; // takes what peers that dial in offer
})().catch((error) => {
  console.error(error.stack);
  process.exit(1);
});

process.on('SIGTERM', () => process.exit(0));
