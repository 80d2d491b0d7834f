// The pages, as HTML. Whatever goes into one passes through `html`, which escapes it.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

class Markup {
  constructor(text) {
    this.text = text
  }
}

const escape = (value) => String(value ?? '').replace(/[&<>"']/g, (found) => ESCAPES[found])

/** A template whose values are escaped, unless they are markup from here; lists are joined. */
export function html(strings, ...values) {
  const text = (value) => (value instanceof Markup ? value.text : Array.isArray(value) ? value.map(text).join('') : escape(value))
  return new Markup(strings.reduce((all, part, index) => all + text(values[index - 1]) + part))
}

/** A whole document. `session` null: nobody is logged in. */
function layout({ config, title, session, script = false }, body) {
  const base = config.basePath
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · ${config.name}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${base}/assets/style.css">
${script ? html`<script type="module" src="${base}/assets/live.js"></script>` : ''}
</head>
<body data-base="${base}">
<a class="skip" href="#content">Skip to content</a>
<header>
<a class="brand" href="${base}/">${config.name}<small>${config.version}</small></a>
${
  session
    ? html`<form method="post" action="${base}/auth/logout">
<span id="user">${session.user.name}</span>
<button type="submit">Log out</button>
</form>`
    : ''
}
</header>
<main id="content">
${body}
</main>
</body>
</html>
`.text
}

/** The page of a surface: who is there, what they may do, flags, and where dependencies are. */
export function home({ config, session, flags, sdk }) {
  const body = html`<h1>${session ? html`Hello, ${session.user.name}` : 'Hello'}</h1>
${session ? access(session, config.oidc?.required ?? []) : html`<p class="lead">This surface is public: nobody logs in.</p>`}
<section aria-labelledby="flags-title">
<h2 id="flags-title">Feature flags</h2>
${table('flags', ['Flag', 'Value'], flagRows(flags))}
<p class="note" id="flags-status" role="status" aria-live="polite">Changes show up here within seconds.</p>
</section>
<section aria-labelledby="sdk-title">
<h2 id="sdk-title">Dependencies</h2>
${table('dependencies', ['Kind', 'Name', 'HTTP', 'gRPC'], dependencyRows(sdk))}
<p class="note">Tenant <code>${sdk.tenantId || config.tenant || '—'}</code>, sent as <code>${sdk.tenantHeader || config.tenantHeader}</code></p>
</section>`
  return layout({ config, title: 'Overview', session, script: true }, body)
}

function access(session, required) {
  const chips = session.scopes.map((scope) => html`<li${required.includes(scope) ? html` class="asked"` : ''}>${scope}</li>`)
  return html`<section aria-labelledby="access-title">
<h2 id="access-title">Access</h2>
<ul class="chips" id="scopes" aria-label="Scopes of the access token">${chips}</ul>
</section>`
}

/** The flags and variants as rows, in the order of their names. */
export function flagRows({ flags, variants }) {
  const all = Object.entries({ ...variants, ...flags }).sort(([one], [other]) => (one < other ? -1 : 1))
  return all.map(([name, value]) => [name, typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value)])
}

function dependencyRows(sdk) {
  const kinds = { domains: 'Domain', processes: 'Process', agents: 'Agent' }
  return Object.entries(kinds).flatMap(([plural, kind]) =>
    Object.entries(sdk[plural]).map(([name, { http, grpc }]) => [kind, name, http, grpc]),
  )
}

function table(id, titles, rows) {
  const head = titles.map((title) => html`<th scope="col">${title}</th>`)
  const body = rows.map(
    ([first, ...rest]) => html`<tr><th scope="row">${first}</th>${rest.map((cell) => html`<td>${cell}</td>`)}</tr>`,
  )
  const none = html`<tr><td colspan="${titles.length}">none</td></tr>`
  return html`<div class="scroll"><table id="${id}"><thead><tr>${head}</tr></thead><tbody>${rows.length ? body : none}</tbody></table></div>`
}

/** A user who may not use this surface: which scopes are missing, and what to do. */
export function forbidden({ config, session, missing }) {
  const body = html`<h1>You may not use this surface</h1>
<p class="lead">Your account lacks ${missing.length === 1 ? 'a permission' : 'permissions'} that it needs:</p>
<ul class="chips" id="missing">${missing.map((scope) => html`<li>${scope}</li>`)}</ul>
<p>Ask an administrator for the realm role of the same name, then log out and in again.</p>`
  return layout({ config, title: 'Not permitted', session }, body)
}

/** Anything else that went wrong, with what can be done about it. */
export function problem({ config, session = null, title, message, again = null }) {
  const body = html`<h1>${title}</h1>
<p class="lead">${message}</p>
${again ? html`<p><a class="button" href="${again}">Try again</a></p>` : ''}`
  return layout({ config, title, session }, body)
}
