// The program: reads the environment, serves until it is told to stop, and lets open requests end.

import { makeServer } from './app.js'
import { ConfigError, fromEnvironment } from './config.js'

const LEVELS = ['debug', 'info', 'warning', 'error']
const STOP_MS = 10_000
const least = Math.max(LEVELS.indexOf((process.env.LOG_LEVEL || 'info').toLowerCase()), 0)

function log(level, message, fields = {}) {
  if (LEVELS.indexOf(level) < least) return
  console.log(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }))
}

function main() {
  let config
  try {
    config = fromEnvironment(process.env)
  } catch (error) {
    log('error', error instanceof ConfigError ? error.message : `the environment is wrong: ${error.message}`)
    process.exitCode = 2
    return
  }
  const state = { stopping: false }
  const server = makeServer(config, log, state)
  server.on('error', (error) => {
    log('error', `cannot listen on ${config.address}:${config.port}: ${error.code}`)
    process.exitCode = 1
  })
  server.listen(config.port, config.address, () => {
    const { address, port } = server.address()
    log('info', 'serving', { address, port, basePath: config.basePath, mode: config.mode })
  })
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => {
      state.stopping = true
      log('info', 'stopping', { signal })
      server.close()
      server.closeIdleConnections()
      setTimeout(() => server.closeAllConnections(), STOP_MS).unref()
    })
  }
}

main()
