// Loaded by every Node program on the host node: cluster names resolve, and wildcard binds stay within the pod.
//
// Pods share the machine's network there. Names come from the file $AMEIDE_HOSTS_FILE, read anew at each look-up as it
// follows the cluster's Services; a server that listens on all addresses gets the pod's own, $AMEIDE_BIND_ADDRESS.

const dns = require('node:dns')
const { readFileSync } = require('node:fs')
const net = require('node:net')

const { AMEIDE_HOSTS_FILE: hosts, AMEIDE_BIND_ADDRESS: address } = process.env
const WILDCARDS = new Set(['0.0.0.0', '::', ''])

function known(name) {
  try {
    for (const line of readFileSync(hosts, 'utf8').split('\n')) {
      const [found, ...names] = line.split(/\s+/)
      if (names.includes(name.replace(/\.$/, ''))) return found
    }
  } catch {
    // Without the file there are the machine's own names.
  }
  return null
}

if (hosts) {
  const { lookup } = dns
  dns.lookup = (name, options, callback) => {
    const done = callback ?? options
    const found = typeof name === 'string' && known(name)
    if (!found) return lookup(name, options, callback)
    const all = typeof options === 'object' && options?.all
    process.nextTick(() => (all ? done(null, [{ address: found, family: 4 }]) : done(null, found, 4)))
    return {}
  }
}

if (address) {
  const { listen } = net.Server.prototype
  net.Server.prototype.listen = function (...given) {
    const [first, second] = given
    if (typeof first === 'object' && first !== null && first.port !== undefined && WILDCARDS.has(first.host ?? '')) {
      given[0] = { ...first, host: address }
    } else if (typeof first === 'number' || (typeof first === 'string' && /^\d+$/.test(first))) {
      if (typeof second !== 'string') given.splice(1, 0, address)
      else if (WILDCARDS.has(second)) given[1] = address
    }
    return listen.apply(this, given)
  }
}
