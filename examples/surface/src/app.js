// The surface's HTTP server: routes, sessions, and the calls of dependencies.

import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { ConfigError, readFlags, readSdk, readSecret } from './config.js'
import { LoginError, Provider, ProviderError, claimsOf, newLogin } from './oidc.js'
import * as pages from './pages.js'
import { cookie, join, keyOf, parseCookies, seal, split, unseal } from './session.js'

const SESSION = 'surface-session'
const LOGIN = 'surface-login'
const LOGIN_SECONDS = 600
const CALL_TIMEOUT_MS = 15_000
const MOST_BODY_BYTES = 1 << 20
const ASSETS = {
  'style.css': 'text/css; charset=utf-8',
  'live.js': 'text/javascript; charset=utf-8',
}

const seconds = () => Math.floor(Date.now() / 1000)

/**
 * The server, not yet listening. `log(level, message, fields)` gets what is worth a line: never a token, code, cookie or
 * query. `state.stopping` makes /readyz fail.
 */
export function makeServer(config, log, state = { stopping: false }) {
  const surface = new Surface(config, log, state)
  const server = createServer((request, response) => surface.serve(request, response))
  server.requestTimeout = 30_000
  return server
}

class Surface {
  #config
  #log
  #state
  #provider
  #counts = new Map()

  constructor(config, log, state) {
    this.#config = config
    this.#log = log
    this.#state = state
    this.#provider = config.oidc && new Provider(config.oidc, () => readSecret(config.oidc.secretFile))
  }

  async serve(request, response) {
    const began = performance.now()
    const path = request.url.split('?', 1)[0]
    response.once('finish', () => {
      this.#count(request.method, response.statusCode)
      const fields = { method: request.method, path, status: response.statusCode, ms: Math.round(performance.now() - began) }
      this.#log('debug', 'request', fields)
    })
    try {
      // The origin is of no matter: a URL is only taken apart with one.
      await this.#route(request, response, new URL(request.url.replace(/^\/+/, '/'), 'http://surface'))
    } catch (error) {
      this.#fail(request, response, error)
    }
  }

  async #route(request, response, url) {
    const { basePath, oidc } = this.#config
    if (url.pathname === '/healthz') return this.#text(response, 200, 'ok\n')
    if (url.pathname === '/readyz') return this.#ready(response)
    if (url.pathname === '/metrics') return this.#metrics(response)
    if (basePath && url.pathname !== basePath && !url.pathname.startsWith(`${basePath}/`)) {
      return this.#problem(response, 404, 'Not found', `This surface lives at ${basePath}/.`)
    }
    const path = url.pathname.slice(basePath.length) || '/'
    const allowed = path === '/auth/logout' ? ['POST'] : path.startsWith('/api/call/') ? ['GET', 'POST'] : ['GET', 'HEAD']
    if (!allowed.includes(request.method)) {
      response.setHeader('allow', allowed.join(', '))
      return this.#problem(response, 405, 'Not allowed', `${request.method} is not possible here.`)
    }
    if (request.method === 'POST' && !this.#sameSite(request)) {
      return this.#problem(response, 403, 'Refused', 'The request came from another site.')
    }
    if (path.startsWith('/assets/')) return this.#asset(response, path.slice('/assets/'.length))
    if (oidc && url.pathname === oidc.callbackPath) return this.#callback(request, response, url)
    const session = await this.#session(request, response)
    if (oidc && path === '/auth/logout') return this.#logout(response, session)
    if (path !== '/' && !path.startsWith('/api/')) return this.#problem(response, 404, 'Not found', 'There is no such page.')
    const api = path.startsWith('/api/')
    if (this.#config.mode !== 'Public' && !session) {
      if (api || !oidc) return this.#json(response, 401, { error: 'not logged in' })
      return this.#login(response, url)
    }
    const missing = (oidc?.required ?? []).filter((scope) => !session.scopes.includes(scope))
    if (missing.length) {
      if (api) return this.#json(response, 403, { error: 'missing scopes', missing })
      return this.#page(response, 403, pages.forbidden({ config: this.#config, session, missing }))
    }
    if (path === '/') return this.#home(response, session)
    if (path === '/api/flags') {
      return this.#json(response, 200, { rows: pages.flagRows(await readFlags(this.#config.flagsFile)) })
    }
    if (path.startsWith('/api/call/')) return this.#call(request, response, path, url.search, session)
    return this.#json(response, 404, { error: 'no such route' })
  }

  // Logging in and out.

  async #session(request, response) {
    const { mode, oidc } = this.#config
    if (mode === 'Gateway') return forwarded(request.headers.authorization)
    if (!oidc) return null
    const text = join(SESSION, parseCookies(request.headers.cookie))
    if (!text) return null
    const session = unseal(await this.#key('session'), text, seconds())
    if (!session || session.renewAt > seconds()) return session
    try {
      const renewed = await this.#provider.refresh(session, seconds())
      await this.#keep(response, renewed)
      return renewed
    } catch (error) {
      if (!(error instanceof LoginError)) throw error
      return null
    }
  }

  async #keep(response, session) {
    const text = seal(await this.#key('session'), session, session.endsAt)
    this.#setCookies(response, split(SESSION, text, this.#cookieOptions()))
  }

  async #login(response, url) {
    const { oidc } = this.#config
    const login = { ...newLogin(), back: url.pathname + url.search }
    const sealed = seal(await this.#key('login'), login, seconds() + LOGIN_SECONDS)
    const location = await this.#provider.authorizationUrl(login)
    // One cookie for each login: two tabs do not get in each other's way.
    const options = { path: oidc.callbackPath, secure: oidc.secure, seconds: LOGIN_SECONDS }
    this.#setCookies(response, [cookie(loginCookie(login.state), sealed, options)])
    this.#redirect(response, location)
  }

  async #callback(request, response, url) {
    const { oidc } = this.#config
    const [state, code, issuer] = ['state', 'code', 'iss'].map((name) => url.searchParams.get(name))
    const name = loginCookie(state ?? '')
    const sealed = parseCookies(request.headers.cookie).get(name)
    const login = sealed ? unseal(await this.#key('login'), sealed, seconds()) : null
    this.#setCookies(response, [cookie(name, '', { path: oidc.callbackPath, secure: oidc.secure, seconds: 0 })])
    if (!login || login.state !== state) throw new LoginError('this login was not begun here, or took too long')
    if (issuer !== null && issuer !== oidc.issuer) throw new LoginError('another provider answered')
    if (!code) throw new LoginError('the provider refused the login')
    const session = await this.#provider.exchange(code, login, seconds())
    await this.#keep(response, session)
    this.#log('info', 'login', { user: session.user.sub })
    this.#redirect(response, localPath(login.back, this.#config.basePath))
  }

  async #logout(response, session) {
    const { oidc, basePath } = this.#config
    this.#setCookies(response, split(SESSION, '', this.#cookieOptions()))
    // The only address that the client has registered for this.
    const back = `${oidc.origin}${basePath}/`
    this.#redirect(response, await this.#provider.logoutUrl(session?.idToken, back))
  }

  async #key(purpose) {
    return keyOf(await readSecret(this.#config.oidc.secretFile), purpose)
  }

  #cookieOptions() {
    return { path: this.#config.basePath || '/', secure: this.#config.oidc.secure }
  }

  // Forms and scripts of other sites can send cookies along on some paths; none of theirs is heeded.
  #sameSite(request) {
    const { origin, 'sec-fetch-site': site, host } = request.headers
    if (site !== undefined) return site === 'same-origin'
    if (origin === undefined) return true // no browser
    return URL.canParse(origin) && new URL(origin).host === host
  }

  // What the surface shows.

  async #home(response, session) {
    const { flagsFile, sdkFile } = this.#config
    const [flags, sdk] = await Promise.all([readFlags(flagsFile), readSdk(sdkFile)])
    this.#page(response, 200, pages.home({ config: this.#config, session, flags, sdk }))
  }

  // /api/call/KIND/NAME/REST, where KIND is domains, processes or agents, and NAME as in the UISurface, percent-encoded.
  async #call(request, response, path, search, session) {
    const [kind, name, ...rest] = path.slice('/api/call/'.length).split('/').map(decodeURIComponent)
    const sdk = await readSdk(this.#config.sdkFile)
    const known = ['domains', 'processes', 'agents'].includes(kind) && Object.hasOwn(sdk[kind], name ?? '')
    if (!known) return this.#json(response, 404, { error: `${kind}/${name} is not among this surface's dependencies` })
    if (rest.some((part) => ['.', '..'].includes(part) || /[/\\]/.test(part))) {
      return this.#json(response, 400, { error: 'the path leaves its place' })
    }
    const target = `${sdk[kind][name].http}/${rest.map(encodeURIComponent).join('/')}${search}`
    const tenant = sdk.tenantId || this.#config.tenant
    const headers = { accept: 'application/json', [sdk.tenantHeader || this.#config.tenantHeader]: tenant }
    if (session) headers.authorization = `Bearer ${session.accessToken}`
    const options = { method: request.method, headers, redirect: 'manual', signal: AbortSignal.timeout(CALL_TIMEOUT_MS) }
    if (request.method === 'POST') {
      options.body = await bodyOf(request)
      if (options.body === null) return this.#json(response, 413, { error: `the body has more than ${MOST_BODY_BYTES} bytes` })
      headers['content-type'] = request.headers['content-type'] ?? 'application/json'
    }
    let answer, content
    try {
      answer = await fetch(target, options)
      content = Buffer.from(await answer.arrayBuffer())
    } catch (error) {
      const late = error.name === 'TimeoutError'
      this.#log('warning', 'a dependency does not answer', { dependency: `${kind}/${name}`, why: error.cause?.code ?? error.name })
      return this.#json(response, late ? 504 : 502, { error: `${kind}/${name} does not answer` })
    }
    // Sandboxed: whatever a dependency sends is data, not a page of this origin.
    response.setHeader('content-type', answer.headers.get('content-type') ?? 'application/octet-stream')
    response.setHeader('content-disposition', 'inline; filename="answer"')
    this.#send(response, answer.status, content, "default-src 'none'; sandbox")
  }

  async #asset(response, name) {
    if (!Object.hasOwn(ASSETS, name)) return this.#problem(response, 404, 'Not found', 'There is no such file.')
    response.setHeader('content-type', ASSETS[name])
    this.#send(response, 200, await readFile(new URL(`../assets/${name}`, import.meta.url)))
  }

  // For the platform.

  // An outage of the login or of a dependency makes no pod unready: another one would fare no better.
  async #ready(response) {
    if (this.#state.stopping) return this.#text(response, 503, 'stopping\n')
    const { flagsFile, sdkFile, oidc } = this.#config
    try {
      await Promise.all([readFlags(flagsFile), readSdk(sdkFile), oidc && readSecret(oidc.secretFile)])
    } catch (error) {
      return this.#text(response, 503, `${error.message}\n`)
    }
    return this.#text(response, 200, 'ready\n')
  }

  #metrics(response) {
    const lines = ['# HELP http_requests_total Answered requests.', '# TYPE http_requests_total counter']
    for (const [labels, count] of [...this.#counts].sort()) lines.push(`http_requests_total{${labels}} ${count}`)
    lines.push('# HELP process_resident_memory_bytes Resident memory.', '# TYPE process_resident_memory_bytes gauge')
    lines.push(`process_resident_memory_bytes ${process.memoryUsage.rss()}`)
    response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8')
    this.#send(response, 200, `${lines.join('\n')}\n`)
  }

  #count(method, status) {
    const labels = `method="${method}",status="${status}"` // Node lets known methods pass only
    this.#counts.set(labels, (this.#counts.get(labels) ?? 0) + 1)
  }

  // Answers.

  #fail(request, response, error) {
    if (response.headersSent) return void response.destroy()
    const again = `${this.#config.basePath}/`
    if (error instanceof LoginError) {
      this.#log('warning', 'login failed', { why: error.message })
      return this.#problem(response, 400, 'You could not be logged in', `It did not work out: ${error.message}.`, again)
    }
    if (error instanceof ProviderError || error instanceof ConfigError) {
      this.#log('error', 'cannot serve', { why: error.message })
      response.setHeader('retry-after', '5')
      const message = 'Something that it needs is not there at the moment. Nothing is wrong with your account.'
      return this.#problem(response, 503, 'This surface cannot serve you now', message, again)
    }
    if (error instanceof URIError || error.code === 'ERR_INVALID_URL') {
      return this.#problem(response, 400, 'Not understood', 'The address is malformed.')
    }
    this.#log('error', 'unexpected', { why: error.stack })
    this.#problem(response, 500, 'This went wrong', 'The surface has a defect; its log says more.', again)
  }

  #problem(response, status, title, message, again = null) {
    this.#page(response, status, pages.problem({ config: this.#config, title, message, again }))
  }

  #page(response, status, text) {
    response.setHeader('content-type', 'text/html; charset=utf-8')
    this.#send(response, status, text)
  }

  #json(response, status, content) {
    response.setHeader('content-type', 'application/json')
    this.#send(response, status, JSON.stringify(content))
  }

  #text(response, status, text) {
    response.setHeader('content-type', 'text/plain; charset=utf-8')
    this.#send(response, status, text)
  }

  #redirect(response, location) {
    response.setHeader('location', location)
    this.#send(response, 303, '')
  }

  #setCookies(response, cookies) {
    response.setHeader('set-cookie', [...(response.getHeader('set-cookie') ?? []), ...cookies])
  }

  #send(response, status, body, policy) {
    // A browser holds redirects of a form against form-action too, and logging out leads to the provider.
    const forms = this.#config.oidc ? `'self' ${new URL(this.#config.oidc.issuer).origin}` : "'self'"
    const own = `default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action ${forms}; frame-ancestors 'none'; base-uri 'none'`
    response.setHeader('content-security-policy', policy ?? own)
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('referrer-policy', 'same-origin')
    response.setHeader('cache-control', 'no-store')
    response.setHeader('content-length', Buffer.byteLength(body))
    response.statusCode = status
    response.end(response.req.method === 'HEAD' ? undefined : body)
  }
}

const loginCookie = (state) => `${LOGIN}-${state.replace(/[^A-Za-z0-9_-]/g, '').slice(0, 12)}`

/** A path of this surface; anything that a browser might take for another place becomes its first page. */
export function localPath(text, basePath) {
  const home = `${basePath}/`
  if (typeof text !== 'string' || !text.startsWith('/') || /^\/[/\\]|[\u0000-\u001f]/.test(text)) return home
  const url = new URL(text, 'http://surface')
  return url.origin === 'http://surface' ? url.pathname + url.search : home
}

// Behind a gateway that has logged the user in and checked the token, which it forwards.
function forwarded(authorization = '') {
  const token = /^Bearer (\S+)$/i.exec(authorization)?.[1]
  if (!token) return null
  const claims = claimsOf(token)
  const user = { sub: claims.sub, name: claims.name || claims.preferred_username || claims.sub }
  return { user, accessToken: token, scopes: String(claims.scope ?? '').split(' ').filter(Boolean) }
}

async function bodyOf(request) {
  const parts = []
  let size = 0
  for await (const part of request) {
    size += part.length
    if (size > MOST_BODY_BYTES) return null
    parts.push(part)
  }
  return Buffer.concat(parts)
}
