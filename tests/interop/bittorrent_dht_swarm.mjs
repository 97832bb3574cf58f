// Nodes of npm's bittorrent-dht in one process, asked over standard input: see swarm.py. Argument: the node_modules folder.
import { createInterface } from 'node:readline'
import { createPublicKey, createPrivateKey, sign, verify } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import path from 'node:path'

const { Client } = await import(pathToFileURL(path.join(process.argv[2], 'bittorrent-dht', 'index.js')).href)
const PUBLIC = Buffer.from('302a300506032b6570032100', 'hex')
const PRIVATE = Buffer.from('302e020100300506032b657004220420', 'hex')
const privateKey = seed => createPrivateKey({ key: Buffer.concat([PRIVATE, Buffer.from(seed, 'hex')]), format: 'der', type: 'pkcs8' })
const publicKey = seed => createPublicKey(privateKey(seed)).export({ format: 'der', type: 'spki' }).subarray(-32)
const holds = (signature, value, key) =>
  verify(null, value, createPublicKey({ key: Buffer.concat([PUBLIC, key]), format: 'der', type: 'spki' }), signature)

const nodes = []
const asked = {
  async start ({ addresses, routers, port = 6881, ids = [] }) {
    for (const [number, address] of addresses.entries()) {
      const options = { bootstrap: routers.map(([host, at]) => `${host}:${at}`), verify: holds }
      if (ids[number]) options.nodeId = ids[number]
      const node = new Client(options)
      node.on('error', error => console.error(String(error)))
      await new Promise((resolve) => { node.listen(port, address, resolve) })
      nodes.push(node)
    }
    return nodes.length
  },
  async sizes () { return nodes.map(node => node.nodes.count()) },
  announce: ({ node, info_hash: hash, port }) => new Promise((resolve, reject) =>
    nodes[node].announce(hash, port, error => error ? reject(error) : resolve(true))),
  get_peers: ({ node, info_hash: hash }) => new Promise((resolve) => {
    const found = new Map()
    const heard = (peer, target) => {
      if (target.toString('hex') === hash) found.set(`${peer.host}:${peer.port}`, [peer.host, peer.port])
    }
    nodes[node].on('peer', heard)
    nodes[node].lookup(hash, () => {
      nodes[node].off('peer', heard)
      resolve([...found.values()])
    })
  }),
  put_immutable: ({ node, value }) => new Promise((resolve, reject) =>
    nodes[node].put({ v: Buffer.from(value) }, (error, hash) => error ? reject(error) : resolve(hash.toString('hex')))),
  get_immutable: ({ node, target }) => new Promise((resolve, reject) =>
    nodes[node].get(target, { cache: false }, (error, item) => error ? reject(error) : resolve(item ? item.v.toString() : null))),
  put_mutable: ({ node, seed, salt, value, seq }) => new Promise((resolve, reject) =>
    nodes[node].put({
      k: publicKey(seed),
      seq,
      v: Buffer.from(value),
      salt: Buffer.from(salt),
      sign: bytes => sign(null, bytes, privateKey(seed))
    }, (error, hash) => error ? reject(error) : resolve(hash.toString('hex')))),
  get_mutable: ({ node, target, salt }) => new Promise((resolve, reject) =>
    nodes[node].get(target, { salt: Buffer.from(salt), cache: false }, (error, item) =>
      error ? reject(error) : resolve(item ? [item.seq, item.v.toString()] : null)))
}

createInterface({ input: process.stdin }).on('line', async line => {
  const question = JSON.parse(line)
  let answer
  try {
    answer = { ok: await asked[question.do](question) }
  } catch (error) {
    answer = { error: String(error) }
  }
  console.log(JSON.stringify(answer))
}).on('close', () => process.exit(0))
