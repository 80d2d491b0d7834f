// The login: OpenID Connect's authorization code flow with PKCE, and the checks that it asks of a client.

import { createHash, createPublicKey, randomBytes, verify as verifySignature } from 'node:crypto'

const TIMEOUT_MS = 10_000
const SKEW_SECONDS = 30
const KEYS_AGAIN_MS = 10_000
// Asymmetric ones alone: neither `none` nor a signature made with what is public counts.
const ALGORITHMS = {
  RS256: { hash: 'sha256', type: 'rsa' },
  RS384: { hash: 'sha384', type: 'rsa' },
  RS512: { hash: 'sha512', type: 'rsa' },
  ES256: { hash: 'sha256', type: 'ec', options: { dsaEncoding: 'ieee-p1363' } },
}

/** The provider cannot be reached, or answers what makes no sense: trying again later may help. */
export class ProviderError extends Error {}

/** The provider refused, or what it said does not hold; the user has to log in again. */
export class LoginError extends Error {}

const random = () => randomBytes(32).toString('base64url')

/** What a login has to remember until the callback: state and nonce against forgery, PKCE's verifier. */
export function newLogin() {
  return { state: random(), nonce: random(), verifier: random() }
}

/** PKCE's challenge of a verifier, by S256. */
export function challengeOf(verifier) {
  return createHash('sha256').update(verifier).digest('base64url')
}

/** The claims of a JSON Web Token, unverified. Throws LoginError if it is none. */
export function claimsOf(token) {
  return decode(token.split('.')[1])
}

/**
 * Verify an ID token as OpenID Connect Core 3.1.3.7 says and return its claims. `keys` maps key ids to public keys;
 * `now` in seconds. Throws LoginError. An undefined `nonce` is not looked at: a refreshed token need not have one.
 */
export function verifyIdToken(token, { keys, issuer, clientId, nonce, now }) {
  const parts = token.split('.')
  if (parts.length !== 3) throw new LoginError('the ID token is no signed token')
  const header = decode(parts[0])
  const algorithm = Object.hasOwn(ALGORITHMS, header.alg) ? ALGORITHMS[header.alg] : null
  const key = keys.get(header.kid)
  if (!algorithm) throw new LoginError('the ID token is signed by an algorithm that is not accepted')
  if (!key || key.asymmetricKeyType !== algorithm.type) throw new LoginError('the ID token is signed with an unknown key')
  const signed = Buffer.from(`${parts[0]}.${parts[1]}`)
  const signature = Buffer.from(parts[2], 'base64url')
  if (!verifySignature(algorithm.hash, signed, { key, ...algorithm.options }, signature)) {
    throw new LoginError("the ID token's signature is wrong")
  }
  const claims = decode(parts[1])
  const audiences = [claims.aud].flat()
  if (claims.iss !== issuer) throw new LoginError('the ID token is of another issuer')
  if (!audiences.includes(clientId)) throw new LoginError('the ID token is for another client')
  if ((audiences.length > 1 || claims.azp !== undefined) && claims.azp !== clientId) {
    throw new LoginError('the ID token was issued to another client')
  }
  if (!(claims.exp > now - SKEW_SECONDS)) throw new LoginError('the ID token has expired')
  if (!(claims.iat < now + SKEW_SECONDS)) throw new LoginError('the ID token is of the future: clocks differ')
  if (nonce !== undefined && claims.nonce !== nonce) throw new LoginError('the ID token is of another login')
  return claims
}

function decode(part) {
  try {
    const found = JSON.parse(Buffer.from(part, 'base64url').toString())
    if (found && typeof found === 'object') return found
  } catch {
    // Said below.
  }
  throw new LoginError('a token cannot be read')
}

/** One provider. What it publishes is fetched when first needed, and kept. */
export class Provider {
  #settings
  #secret
  #discovered = null
  #keys = new Map()
  #keysAt = -Infinity

  /** `settings` as in the configuration; `secret` returns the client's secret of the moment. */
  constructor(settings, secret) {
    this.#settings = settings
    this.#secret = secret
  }

  /** The provider's own description. Throws ProviderError. */
  async discovery() {
    if (this.#discovered) return this.#discovered
    const { issuer } = this.#settings
    const found = await this.#json(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)
    if (found.issuer !== issuer) throw new ProviderError(`the provider at ${issuer} calls itself ${found.issuer}`)
    this.#discovered = found
    return found
  }

  /** Where the browser goes to log in. */
  async authorizationUrl(login) {
    const { authorization_endpoint: endpoint } = await this.discovery()
    const { clientId, redirectUri, scopes } = this.#settings
    const url = new URL(endpoint)
    const query = {
      response_type: 'code',
      client_id: clientId,
      redirect_uri: redirectUri,
      scope: scopes.join(' '),
      state: login.state,
      nonce: login.nonce,
      code_challenge: challengeOf(login.verifier),
      code_challenge_method: 'S256',
    }
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    return url.href
  }

  /** Where the browser goes to log out at the provider too, and from there to `back`. */
  async logoutUrl(idToken, back) {
    const { end_session_endpoint: endpoint } = await this.discovery()
    if (!endpoint) return back
    const url = new URL(endpoint)
    url.searchParams.set('client_id', this.#settings.clientId)
    url.searchParams.set('post_logout_redirect_uri', back)
    if (idToken) url.searchParams.set('id_token_hint', idToken)
    return url.href
  }

  /** Turn the callback's code into a session. Throws LoginError or ProviderError. */
  async exchange(code, login, now) {
    const { redirectUri } = this.#settings
    const form = { grant_type: 'authorization_code', code, redirect_uri: redirectUri, code_verifier: login.verifier }
    return this.#session(await this.#token(form), {}, login.nonce, now)
  }

  /** A session with new tokens. Throws LoginError when the provider has ended it, or ProviderError. */
  async refresh(session, now) {
    if (!session.refreshToken) throw new LoginError('the session has expired')
    const form = { grant_type: 'refresh_token', refresh_token: session.refreshToken }
    return this.#session(await this.#token(form), session, undefined, now)
  }

  async #session(answer, before, nonce, now) {
    const { issuer, clientId, scopes } = this.#settings
    const idToken = answer.id_token ?? before.idToken
    if (!answer.access_token || !idToken) throw new LoginError('the provider gave no tokens: is openid among the scopes?')
    let user = before.user
    if (answer.id_token) {
      const { kid } = decode(answer.id_token.split('.')[0])
      const claims = verifyIdToken(answer.id_token, { keys: await this.#keysWith(kid), issuer, clientId, nonce, now })
      if (user && user.sub !== claims.sub) throw new LoginError('the provider answered for another user')
      user = { sub: claims.sub, name: claims.name || claims.preferred_username || claims.sub }
    }
    return {
      user,
      accessToken: answer.access_token,
      refreshToken: answer.refresh_token ?? before.refreshToken,
      idToken,
      // Without this member everything that was asked for was granted (RFC 6749, 5.1).
      scopes: (answer.scope ?? (before.scopes ?? scopes).join(' ')).split(' ').filter(Boolean),
      renewAt: now + Math.max((answer.expires_in ?? 60) - 10, 5),
      endsAt: now + (answer.refresh_expires_in || answer.expires_in || 60),
    }
  }

  async #token(form) {
    const { token_endpoint: endpoint } = await this.discovery()
    const encode = (text) => encodeURIComponent(text).replace(/%20/g, '+')
    const credentials = `${encode(this.#settings.clientId)}:${encode(await this.#secret())}`
    const authorization = `Basic ${Buffer.from(credentials).toString('base64')}`
    return this.#json(endpoint, { method: 'POST', headers: { authorization }, body: new URLSearchParams(form) })
  }

  async #keysWith(kid) {
    // A key that is not known may be new; strangers cannot have it looked up at will.
    if (!this.#keys.has(kid) && performance.now() - this.#keysAt > KEYS_AGAIN_MS) {
      const { jwks_uri: address } = await this.discovery()
      const { keys = [] } = await this.#json(address)
      this.#keysAt = performance.now()
      const signing = keys.filter((key) => key.use !== 'enc' && ['RSA', 'EC'].includes(key.kty))
      this.#keys = new Map(signing.map((key) => [key.kid, createPublicKey({ key, format: 'jwk' })]))
    }
    return this.#keys
  }

  async #json(url, options = {}) {
    let status, found
    try {
      const answer = await fetch(url, { ...options, redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) })
      status = answer.status
      found = await answer.json()
    } catch (error) {
      const why = error.name === 'TimeoutError' ? 'no answer in time' : (error.cause?.code ?? 'no usable answer')
      throw new ProviderError(`${new URL(url).origin} (login): ${why}`)
    }
    if (status === 400 && ['invalid_grant', 'access_denied'].includes(found.error)) {
      throw new LoginError('the login or session is over')
    }
    if (status !== 200) {
      // A refused client is the operator's to repair, as an outage is somebody's: no login helps.
      throw new ProviderError(`${new URL(url).origin} (login): HTTP ${status} ${found.error ?? ''}`.trim())
    }
    return found
  }
}
