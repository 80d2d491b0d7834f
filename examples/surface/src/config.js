// What the operator tells the surface: environment variables, and the two files they name.

import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'

// Scopes that say something about the login itself; no role stands behind them.
const STANDARD_SCOPES = new Set(['openid', 'profile', 'email', 'address', 'phone', 'offline_access'])

/** The environment, or a file that it names, is not as the operator makes it. */
export class ConfigError extends Error {}

/** Read the configuration from the environment. Throws ConfigError, which names the variable and what is expected. */
export function fromEnvironment(env) {
  const mode = env.AMEIDE_AUTH_MODE || (env.OIDC_ISSUER ? 'Application' : 'Public')
  const basePath = (env.AMEIDE_BASE_PATH || '').replace(/\/+$/, '')
  if (basePath && !/^(\/[A-Za-z0-9._~-]+)+$/.test(basePath)) {
    throw new ConfigError(`AMEIDE_BASE_PATH is ${JSON.stringify(basePath)}; expected a path such as /shop, or nothing`)
  }
  const port = Number(env.PORT || env.PORT_HTTP || 3000)
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new ConfigError('PORT: expected a port number')
  return Object.freeze({
    port,
    // A container's own HOSTNAME is its pod's name, which says nothing about where to listen.
    address: isIP(env.HOSTNAME || '') ? env.HOSTNAME : '0.0.0.0',
    name: env.AMEIDE_PRIMITIVE_NAME || 'surface',
    version: env.SURFACE_VERSION || 'dev',
    tenant: env.AMEIDE_TENANT_ID || '',
    tenantHeader: env.AMEIDE_TENANT_HEADER || 'x-tenant-id',
    basePath,
    flagsFile: env.AMEIDE_FLAGS_FILE || '/etc/ameide/flags/flags.json',
    sdkFile: env.AMEIDE_SDK_CONFIG_FILE || '/etc/ameide/sdk/config.json',
    mode,
    oidc: mode === 'Application' ? oidc(env) : null,
  })
}

function oidc(env) {
  for (const name of ['OIDC_ISSUER', 'OIDC_CLIENT_ID', 'OIDC_CLIENT_SECRET_FILE', 'OIDC_REDIRECT_URI']) {
    if (!env[name]) throw new ConfigError(`${name} is not set, and auth mode Application needs it`)
  }
  const redirect = new URL(env.OIDC_REDIRECT_URI)
  const scopes = (env.OIDC_SCOPES || 'openid').split(/\s+/).filter(Boolean)
  return Object.freeze({
    issuer: env.OIDC_ISSUER,
    clientId: env.OIDC_CLIENT_ID,
    secretFile: env.OIDC_CLIENT_SECRET_FILE,
    redirectUri: redirect.href,
    callbackPath: redirect.pathname,
    secure: redirect.protocol === 'https:',
    origin: redirect.origin,
    scopes,
    required: scopes.filter((scope) => !STANDARD_SCOPES.has(scope)),
  })
}

/** The client's secret as it is now: it may be rotated while the surface runs. Throws ConfigError. */
export async function readSecret(path) {
  const text = (await readText(path, 'the client secret')).trim()
  if (!text) throw new ConfigError(`${path} is empty; expected the client secret`)
  return text
}

/** The flags as they are now: {flags: {name: boolean}, variants: {name: text}}. Throws ConfigError. */
export async function readFlags(path) {
  const { flags = {}, variants = {} } = await readJson(path, 'feature flags')
  return { flags, variants }
}

/** Where dependencies are: {tenantHeader, tenantId, domains, processes, agents}. Throws ConfigError. */
export async function readSdk(path) {
  const found = await readJson(path, 'SDK configuration')
  if (found.version !== 1) throw new ConfigError(`${path}: version is ${found.version}; this surface knows version 1`)
  return { domains: {}, processes: {}, agents: {}, ...found }
}

async function readJson(path, what) {
  const text = await readText(path, what)
  let found
  try {
    found = JSON.parse(text)
  } catch {
    throw new ConfigError(`${path} is no JSON; expected ${what}`)
  }
  if (found === null || typeof found !== 'object' || Array.isArray(found)) {
    throw new ConfigError(`${path} holds no object; expected ${what}`)
  }
  return found
}

async function readText(path, what) {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`${what} cannot be read from ${path}: ${error.code}`)
  }
}
