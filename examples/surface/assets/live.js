// Keeps the table of flags as the file is, without loading the page again.

const base = document.body.dataset.base
const body = document.querySelector('#flags tbody')
const status = document.querySelector('#flags-status')
let shown = null

function rowOf([name, value]) {
  const row = document.createElement('tr')
  const head = row.appendChild(document.createElement('th'))
  head.scope = 'row'
  head.textContent = name
  row.appendChild(document.createElement('td')).textContent = value
  return row
}

async function look() {
  if (document.hidden) return
  try {
    const answer = await fetch(`${base}/api/flags`, { headers: { accept: 'application/json' } })
    if (answer.status === 401) {
      location.reload()
      return
    }
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
    const { rows } = await answer.json()
    const text = JSON.stringify(rows)
    if (shown !== null && shown !== text) {
      body.replaceChildren(...rows.map(rowOf))
      status.textContent = `Changed at ${new Date().toLocaleTimeString()}.`
    }
    shown = text
  } catch {
    status.textContent = 'The surface does not answer; what you see may be old.'
  }
}

look()
setInterval(look, 2000)
