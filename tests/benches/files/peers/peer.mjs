// One end of a transfer as a process: `node peer.mjs KIND`, KIND being wrtc, node-datachannel or
// chromium. Commands come as JSON lines on standard input, reports go to standard output. The npm
// packages lie in the directory that PEER_PACKAGES names. Ends with its input.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { createInterface } from 'node:readline'

import { HIGH_WATER_BYTES, LOW_WATER_BYTES, counter, transfer } from './transfer.mjs'

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)
const load = (name) => createRequire(`${process.env.PEER_PACKAGES}/`)(name)

const CHROMIUM_FLAGS = [
  '--headless',
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

function nodeDatachannel() {
  const { PeerConnection } = load('node-datachannel')
  // Its default refuses more than 256 KiB already.
  const peer = new PeerConnection('bench', { iceServers: [], maxMessageSize: 262144 })
  let channel = null
  peer.onGatheringStateChange((state) => {
    if (state !== 'complete') return
    const { type, sdp } = peer.localDescription()
    say({ type: 'description', kind: type, sdp })
  })
  return async (command) => {
    switch (command.type) {
      case 'send':
        channel = peer.createDataChannel('file')
        channel.onOpen(() => say({ type: 'open' }))
        break
      case 'receive':
        peer.onDataChannel((incoming) => {
          channel = incoming
          const report = counter(command.bytes, say)
          channel.onMessage((data) => report(data.byteLength))
        })
        break
      case 'description':
        peer.setRemoteDescription(command.sdp, command.kind)
        break
      case 'go':
        sendNative(channel, command.message_bytes, command.bytes)
        break
    }
  }
}

function sendNative(channel, messageBytes, bytes) {
  const message = Buffer.alloc(messageBytes)
  let left = bytes
  const fill = () => {
    while (left > 0 && channel.bufferedAmount() < HIGH_WATER_BYTES) {
      channel.sendMessageBinary(left < messageBytes ? message.subarray(0, left) : message)
      left -= Math.min(messageBytes, left)
    }
  }
  channel.setBufferedAmountLowThreshold(LOW_WATER_BYTES)
  channel.onBufferedAmountLow(fill)
  fill()
}

// Serves the page and passes on what goes in and out.
async function chromium() {
  const here = new URL('.', import.meta.url)
  const pages = { '/': ['page.html', 'text/html'], '/transfer.mjs': ['transfer.mjs', 'text/javascript'] }
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
    } else if (pages[request.url]) {
      const [file, type] = pages[request.url]
      response.writeHead(200, { 'content-type': type })
      response.end(readFileSync(new URL(file, here)))
    } else {
      response.writeHead(404)
      response.end()
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const profile = mkdtempSync(`${tmpdir()}/visavis-bench-`)
  const browser = spawn(
    process.env.CHROMIUM,
    [...CHROMIUM_FLAGS, `--user-data-dir=${profile}`, `http://127.0.0.1:${server.address().port}/`],
    { stdio: 'ignore', detached: true, env: { ...process.env, HOME: profile } },
  )
  process.on('exit', () => {
    try {
      process.kill(-browser.pid, 'SIGKILL')
    } catch {
      // Gone already.
    }
    rmSync(profile, { recursive: true, force: true, maxRetries: 3 })
  })
  return async (command) => commands.write(`data: ${JSON.stringify(command)}\n\n`)
}

let handle
switch (process.argv[2]) {
  case 'wrtc':
    handle = transfer(load('@roamhq/wrtc').RTCPeerConnection, say)
    say({ type: 'ready' })
    break
  case 'node-datachannel':
    handle = nodeDatachannel()
    say({ type: 'ready' })
    break
  case 'chromium':
    // The page says when it is ready.
    handle = await chromium()
    break
  default:
    throw new Error(`no such peer: ${process.argv[2]}`)
}

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  handle(JSON.parse(line)).catch((error) => say({ type: 'error', text: `${error}` }))
})
lines.on('close', () => process.exit(0))
