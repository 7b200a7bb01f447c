// A Chromium with one page, for benchmarks: commands go to the page as events, what it
// says comes back as requests.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
  // Plain host candidates, as the others have them; otherwise they are hidden from pages without
  // a camera.
  '--disable-features=WebRtcHideLocalIpsWithMdns',
]

const COMMON = { '/page.mjs': [new URL('page.mjs', import.meta.url), 'text/javascript'] }

// `pages` are [URL of a file, content type] by path, beside /page.mjs; the program is named by CHROMIUM. What the page
// says is written to standard output, line by line. Returns what passes on a command, and what ends it.
// Without a window unless `isShown`.
export async function browse(pages, flags = [], isShown = false) {
  const served = { ...COMMON, ...pages }
  let commands = null
  const server = createServer((request, response) => {
    if (request.url === '/commands') {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.flushHeaders()
      commands = response
    } else if (request.url === '/say') {
      let body = ''
      request.on('data', (part) => (body += part))
      request.on('end', () => {
        process.stdout.write(`${body}\n`)
        response.end()
      })
    } else if (served[request.url]) {
      const [file, type] = served[request.url]
      response.writeHead(200, { 'content-type': type })
      response.end(readFileSync(file))
    } else {
      response.writeHead(404)
      response.end()
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const profile = mkdtempSync(`${tmpdir()}/visavis-bench-`)
  // Whatever ends this process ends the browser.
  const browser = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', process.env.CHROMIUM],
      ...(isShown ? [] : ['--headless']),
      ...[...FLAGS, ...flags],
      `--user-data-dir=${profile}`,
      `http://127.0.0.1:${server.address().port}/`,
    ],
    { stdio: 'ignore', env: { ...process.env, HOME: profile } },
  )
  const ended = new Promise((resolve) => browser.on('exit', resolve))
  return {
    handle: async (command) => commands.write(`data: ${JSON.stringify(command)}\n\n`),
    leave: async () => {
      browser.kill('SIGKILL')
      await ended
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
